// What the etcd tests share: configurations, requests, raw writes, and reading a watch step by step.
import { DEADLINE_MS } from "../../lab/wait.ts";
import type { NetworkConfig } from "../../src/config/network-config.ts";
import { RequestOp, TxnRequest } from "../../src/etcd-api/etcd.ts";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import type { Lease, LeaseAttributes, LeaseChange } from "../../src/lease/lease.ts";
import { EtcdAdministration } from "../../src/store/etcd/etcd-administration.ts";
import { EtcdConnection } from "../../src/store/etcd/etcd-connection.ts";
import { EtcdSubnetStore, type EtcdSubnetStoreOptions } from "../../src/store/etcd/etcd-subnet-store.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import type { LeaseRequest, SubnetStore } from "../../src/store/subnet-store.ts";

export const prefix = "/coreos.com/network";
export const directory = `${prefix}/subnets/`;

export const never = new AbortController().signal;

/** 10.5.0.0/16 in /24s: 255 subnets. */
export const ipv4Config: NetworkConfig = {
  ipv4: {
    network: parsePrefix("10.5.0.0/16"),
    subnetLength: 24,
    subnetMin: parseAddress("10.5.1.0"),
    subnetMax: parseAddress("10.5.255.0"),
  },
  enableNftables: false,
  backendType: "vxlan",
  backend: {},
};

const ipv6 = {
  network: parsePrefix("fd00::/48"),
  subnetLength: 64,
  subnetMin: parseAddress("fd00:0:0:1::"),
  subnetMax: parseAddress("fd00:0:0:ffff::"),
};

export const dualConfig: NetworkConfig = { ...ipv4Config, ipv6 };

export const ipv6Config: NetworkConfig = { ipv6, enableNftables: false, backendType: "vxlan", backend: {} };

export function attributesOf(publicIp: string, mac = "02:00:00:00:00:01"): LeaseAttributes {
  const backendData = { VNI: 1, VtepMAC: mac };
  return { publicIp: parseAddress(publicIp), backendType: "vxlan", backendData };
}

export function requestOf(publicIp: string, more: Partial<LeaseRequest> = {}): LeaseRequest {
  return { config: ipv4Config, attributes: attributesOf(publicIp), ...more };
}

export function openStore(endpoints: string, options: Partial<EtcdSubnetStoreOptions> = {}): Promise<EtcdSubnetStore> {
  return EtcdSubnetStore.open({ endpoints, prefix, ...options });
}

export function openAdministration(endpoints: string, options: Partial<EtcdSubnetStoreOptions> = {}) {
  return EtcdAdministration.open({ endpoints, prefix, ...options });
}

/** Writes and deletes whatever the test wants, past all rules. */
export class RawClient implements AsyncDisposable {
  readonly connection: EtcdConnection;

  private constructor(connection: EtcdConnection) {
    this.connection = connection;
  }

  static async open(endpoints: string): Promise<RawClient> {
    return new RawClient(await EtcdConnection.open({ endpoints }));
  }

  /** All in one transaction, at one revision; at most 128. */
  async put(entries: Readonly<Record<string, string>>, lease = 0n): Promise<void> {
    await this.#commit(
      Object.entries(entries).map(([key, value]) =>
        RequestOp.fromPartial({
          requestPut: { key: Buffer.from(key, "latin1"), value: Buffer.from(value, "latin1"), lease },
        }),
      ),
    );
  }

  async delete(key: string): Promise<void> {
    await this.deleteAll([key]);
  }

  /** All in one transaction, at one revision; at most 128. */
  async deleteAll(keys: readonly string[]): Promise<void> {
    await this.#commit(
      keys.map((key) => RequestOp.fromPartial({ requestDeleteRange: { key: Buffer.from(key, "latin1") } })),
    );
  }

  /** Deletes one key and writes another, at one revision. */
  async swap(oldKey: string, key: string, value: string): Promise<void> {
    const put = RequestOp.fromPartial({ requestPut: { key: Buffer.from(key), value: Buffer.from(value) } });
    await this.#commit([RequestOp.fromPartial({ requestDeleteRange: { key: Buffer.from(oldKey) } }), put]);
  }

  /** Undefined when there is no such key. */
  async get(key: string): Promise<{ value: string; lease: bigint; revision: bigint } | undefined> {
    const request = RequestOp.fromPartial({ requestRange: { key: Buffer.from(key) } });
    const kv = (await this.#commit([request])).responses[0]?.responseRange?.kvs[0];
    return kv && { value: Buffer.from(kv.value).toString(), lease: kv.lease, revision: kv.modRevision };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection[Symbol.asyncDispose]();
  }

  #commit(success: RequestOp[]) {
    return this.connection.call(methods.txn, TxnRequest.fromPartial({ success }), "test", never);
  }
}

/** Follows a watch in the background; tests wait for conditions on what it saw. */
export class Follower implements AsyncDisposable {
  readonly changes: LeaseChange[] = [];
  readonly leases = new Map<string, Lease>();
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  #wake: () => void = () => undefined;

  constructor(store: SubnetStore) {
    this.#done = this.#follow(store);
  }

  get snapshots(): number {
    return this.changes.filter(({ type }) => type === "snapshot").length;
  }

  /** Outages, however many reasons each had. */
  get disconnects(): number {
    const isOut = (index: number) => this.changes[index]?.type === "disconnected";
    return this.changes.filter((_, index) => isOut(index) && !isOut(index - 1)).length;
  }

  /** Why, in the order told. */
  get outageReasons(): string[] {
    return this.changes.flatMap((change) => (change.type === "disconnected" ? [change.reason] : []));
  }

  get unreadable(): string[] {
    return this.changes.flatMap((change) => ("unreadable" in change ? change.unreadable.map(({ key }) => key) : []));
  }

  /** Resolves when `condition` holds. Rejects after `timeoutMs`, naming `what`. */
  async until(what: string, condition: () => boolean, timeoutMs = DEADLINE_MS): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (!condition()) {
      const leftMs = end - performance.now();
      if (leftMs <= 0) throw new Error(`not seen in ${timeoutMs} ms: ${what}; last ${JSON.stringify(this.#last())}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, Math.min(leftMs, 200));
      await promise;
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }

  async #follow(store: SubnetStore): Promise<void> {
    for await (const change of store.watch(this.#abort.signal)) {
      this.changes.push(change);
      if (change.type === "snapshot") {
        this.leases.clear();
        for (const lease of change.leases) this.leases.set(lease.key, lease);
      }
      if (change.type === "changes") {
        for (const event of change.changes) {
          if (event.type === "put") this.leases.set(event.lease.key, event.lease);
          else this.leases.delete(event.key);
        }
      }
      this.#wake();
    }
  }

  #last(): unknown {
    return this.changes.slice(-3).map((change) => change.type);
  }
}

/** Key and value as upstream's host number `index` (0..65535) writes them: subnets of 16 addresses in 10.16.0.0/12. */
export function foreignLease(index: number): { readonly name: string; readonly key: string; readonly value: string } {
  const [high, middle, low] = [16 + (index >> 12), (index >> 4) & 255, (index & 15) * 16];
  const name = `10.${high}.${middle}.${low}-28`;
  const data = `"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}`;
  const value = `{"PublicIP":"192.168.${index >> 8}.${index & 255}","PublicIPv6":null,${data}}`;
  return { name, key: directory + name, value };
}

/** `count` leases of others, in transactions of 100. */
export async function putForeignLeases(client: RawClient, count: number, first = 0): Promise<void> {
  for (let start = first; start < first + count; start += 100) {
    const indexes = Array.from({ length: Math.min(100, first + count - start) }, (_, offset) => start + offset);
    await client.put(Object.fromEntries(indexes.map(foreignLease).map(({ key, value }) => [key, value])));
  }
}
