// A process that stands for several hosts: gets each a store connection, waits for a word on standard input, then has
// all of them take a lease at once.
//
//   acquirer.ts ENDPOINTS PREFIX FIRST-HOST HOSTS

import { once } from "node:events";
import { parseConfig } from "../src/backend/registry.ts";
import { EtcdSubnetStore } from "../src/store/etcd/etcd-subnet-store.ts";
import { peer } from "./peers.ts";

export interface AcquirerMessage {
  readonly type: "ready" | "acquired";
  /** Of the leases taken. */
  readonly keys: readonly string[];
}

function say(message: AcquirerMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function acquire(store: EtcdSubnetStore, host: number, signal: AbortSignal): Promise<string> {
  const { config } = parseConfig((await store.networkConfig(signal)).text);
  const { publicIp } = peer(host);
  const { lease } = await store.acquire({ config, attributes: { publicIp } }, signal);
  return lease.key;
}

const [endpoints = "", prefix = "", first = "", hosts = ""] = process.argv.slice(2);
const { signal } = new AbortController();
const stores: EtcdSubnetStore[] = [];
for (let count = 0; count < Number(hosts); count++) stores.push(await EtcdSubnetStore.open({ endpoints, prefix }));
say({ type: "ready", keys: [] });
await once(process.stdin, "data");
const keys = await Promise.all(stores.map((store, index) => acquire(store, Number(first) + index, signal)));
say({ type: "acquired", keys });
await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
