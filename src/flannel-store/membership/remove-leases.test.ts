import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { PutRequest, RangeRequest } from "../../etcd-api/etcd.ts";
import { parseAddress } from "../../ip/address.ts";
import { formatLeaseValue } from "../../lease/lease-value.ts";
import { EmbeddedStore } from "../server/embedded-store.ts";
import { unframeKeyValues } from "../server/key-value-frames.ts";
import type { HostRecord } from "./member-file.ts";
import { removeLeases } from "./remove-leases.ts";

let directory: string;
let store: EmbeddedStore;
const etcdPrefix = "/coreos.com/network";
const facts = { etcdPrefix, addresses: ["192.0.2.1", "2001:db8::1"], port: 2379 };

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "flannel-leases-"));
  const onFailure = (error: unknown) => {
    throw error;
  };
  store = EmbeddedStore.open({ directory, retentionMs: 3_600_000, onFailure });
});

afterEach(async () => {
  await store[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

function host(name: string, ...addresses: readonly string[]): HostRecord {
  return { name, keyPin: name, joinedAtMs: 0, certificates: [], addresses: [...addresses] };
}

async function put(key: string, value: string): Promise<void> {
  const request = PutRequest.fromPartial({ key: Buffer.from(key), value: Buffer.from(value) });
  await store.write((writer) => writer.put(request));
}

const lease = (key: string, publicIp: string, publicIpv6?: string) =>
  put(
    `${etcdPrefix}/subnets/${key}`,
    formatLeaseValue({
      publicIp: parseAddress(publicIp),
      ...(publicIpv6 !== undefined && { publicIpv6: parseAddress(publicIpv6) }),
    }),
  );

function keys(): string[] {
  const { frames } = store.range(RangeRequest.fromPartial({ key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) }));
  return unframeKeyValues(frames).map(({ key }) => Buffer.from(key).toString().replace(`${etcdPrefix}/`, ""));
}

it("deletes the leases that announce an address of the host, of either family, and nothing else", async () => {
  await put(`${etcdPrefix}/config`, "{}");
  await lease("10.5.1.0-24", "192.0.2.11");
  await lease("10.5.2.0-24", "192.0.2.12");
  await lease("10.5.3.0-24", "192.0.2.13", "2001:db8::11");
  await put(`${etcdPrefix}/subnets/10.5.4.0-24`, "not a lease of 192.0.2.11");
  await put(`${etcdPrefix}/subnets_backup`, '{"PublicIP":"192.0.2.11"}');
  const removed = await removeLeases(store, facts, host("h1", "192.0.2.11", "2001:db8::11"), [
    host("h2", "192.0.2.12"),
  ]);
  expect(removed).toMatchObject({ leases: ["10.5.1.0-24", "10.5.3.0-24"], sharedAddresses: [] });
  expect(keys()).toEqual(["config", "subnets/10.5.2.0-24", "subnets/10.5.4.0-24", "subnets_backup"]);
});

it("takes a host that calls over loopback for the store's own, by its addresses", async () => {
  await lease("10.5.1.0-24", "192.0.2.1");
  await lease("10.5.2.0-24", "127.0.0.1");
  const removed = await removeLeases(store, facts, host("h1", "127.0.0.1"), []);
  expect(removed.leases).toEqual(["10.5.1.0-24"]);
});

it("leaves alone what may be another host's behind the same address, and names it", async () => {
  await lease("10.5.1.0-24", "192.0.2.99");
  await lease("10.5.2.0-24", "192.0.2.11");
  const removed = await removeLeases(store, facts, host("h1", "192.0.2.99", "192.0.2.11"), [host("h2", "192.0.2.99")]);
  expect(removed).toMatchObject({ leases: ["10.5.2.0-24"], sharedAddresses: ["192.0.2.99"] });
  expect(keys()).toEqual(["subnets/10.5.1.0-24"]);
});
