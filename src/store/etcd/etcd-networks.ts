// Several networks in one etcd: `<prefix>/<name>/config` and `<prefix>/<name>/subnets/…`, over one connection. Follows
// which there are.
import { posix } from "node:path";
import { type Event, RangeRequest } from "../../etcd-api/etcd.ts";
import { keySpaceOf, singleKey } from "../../etcd-api/key-space.ts";
import type { NetworkDirectory, NetworkNews, StorePlace } from "../network-directory.ts";
import type { EtcdStoreOptions } from "../store-options.ts";
import type { StoreCertificates, SubnetStore } from "../subnet-store.ts";
import { EtcdConnection } from "./etcd-connection.ts";
import { EtcdSubnetStore, resolvedEndpoints, type SharedConnection } from "./etcd-subnet-store.ts";
import { defaultAuditTimings } from "./lease-audit.ts";
import { NetworkKeys } from "./network-keys.ts";
import { retryWhileFollowing } from "./retry-while-following.ts";
import { methods } from "./rpc.ts";
import { type StoreFacts, StorePast } from "./store-past.ts";
import { watchKeys } from "./watch-keys.ts";

/** Far more than an agent serves: what is beyond is not looked at. */
const MAX_LISTED_NAMES = 1_000;
/** All networks learn at the same moment that the host's address changed. */
const RECONNECT_ONCE_IN_MS = 1_000;

interface Listing extends StoreFacts {
  readonly names: ReadonlySet<string>;
  readonly revision: bigint;
}

export class EtcdNetworks implements NetworkDirectory {
  readonly description: string;
  readonly warnings: readonly string[];
  readonly certificates: StoreCertificates;
  readonly #connection: EtcdConnection;
  readonly #shared: SharedConnection;
  readonly #options: EtcdStoreOptions;
  readonly #keys: NetworkKeys;
  #reconnectedAtMs = Number.NEGATIVE_INFINITY;

  private constructor(connection: EtcdConnection, options: EtcdStoreOptions) {
    this.#connection = connection;
    this.#shared = { connection, addresses: resolvedEndpoints(options), reconnect: () => this.#reconnect() };
    this.#options = options;
    this.#keys = new NetworkKeys(keySpaceOf(options.prefix));
    this.warnings = connection.warnings;
    this.description = `etcd ${connection.description}, networks below ${options.prefix}`;
    this.certificates = {
      inUse: () => connection.certificates(),
      reload: () => connection.reloadCertificates(),
    };
  }

  /** Throws as `EtcdSubnetStore.open`. */
  static async open(options: EtcdStoreOptions): Promise<EtcdNetworks> {
    return new EtcdNetworks(await EtcdConnection.open(options), options);
  }

  open(name: string): SubnetStore {
    const prefix = posix.join(this.#options.prefix, name);
    return EtcdSubnetStore.over(this.#shared, { ...this.#options, prefix });
  }

  async *watch(signal: AbortSignal): AsyncGenerator<NetworkNews, void, undefined> {
    let isOtherStore = false;
    const told: NetworkNews[] = [];
    while (!signal.aborted) {
      const onFailure = (reason: string, isRefusal: boolean) =>
        void told.push({ type: "disconnected", reason, ...(isRefusal && { isRefusal }) });
      const listing = await retryWhileFollowing((attempt) => this.#list(attempt), signal, onFailure);
      yield* told.splice(0);
      if (listing === undefined) return;
      yield newsOf(listing, isOtherStore);
      isOtherStore = yield* this.#follow(listing, signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  #reconnect(): void {
    const nowMs = performance.now();
    if (nowMs - this.#reconnectedAtMs < RECONNECT_ONCE_IN_MS) return;
    this.#reconnectedAtMs = nowMs;
    this.#connection.reconnect();
  }

  #namesAfter(before: ReadonlySet<string>, events: readonly Event[]): Set<string> {
    const names = new Set(before);
    for (const { kv } of events) {
      const name = kv && this.#keys.nameOfConfig(kv.key);
      if (name === undefined) continue;
      // A deleted key comes with version 0.
      if (kv?.version === 0n) names.delete(name);
      else if (names.size < MAX_LISTED_NAMES) names.add(name);
    }
    return names;
  }

  /** Until everything is to be read again; returns whether the store is another one by then. */
  async *#follow(listing: Listing, signal: AbortSignal): AsyncGenerator<NetworkNews, boolean, undefined> {
    // A watch may leave something out without a sign, see lease-audit.ts.
    const turn = AbortSignal.any([signal, AbortSignal.timeout(defaultAuditTimings.intervalMs)]);
    const start = { range: this.#keys.range, startRevision: listing.revision + 1n, past: new StorePast(listing) };
    let { names } = listing;
    for await (const item of watchKeys(this.#connection, start, turn)) {
      if (item.type === "compacted") return item.isOtherStore;
      if (item.type !== "events") {
        yield item.type === "contact" ? { type: "contact" } : item;
        continue;
      }
      const next = this.#namesAfter(names, item.events);
      if (next.symmetricDifference(names).size === 0) yield { type: "contact" };
      else yield newsOf({ ...listing, names: next, revision: item.revision }, false);
      names = next;
    }
    return false;
  }

  /** One key of each network is read, not its leases: they may be thousands. All at one revision. */
  async #list(signal: AbortSignal): Promise<Listing> {
    const names = new Set<string>();
    let facts: StoreFacts & { readonly revision: bigint } = { clusterId: 0n, raftTerm: 0n, revision: 0n };
    let start = this.#keys.range.start;
    while (names.size < MAX_LISTED_NAMES) {
      const range = { key: start, rangeEnd: this.#keys.range.end, revision: facts.revision, limit: 1n, keysOnly: true };
      const { header, kvs } = await this.#read(range, signal);
      if (facts.revision === 0n) {
        const { clusterId = 0n, raftTerm = 0n, revision = 0n } = header ?? {};
        facts = { clusterId, raftTerm, revision };
      }
      const [first] = kvs;
      if (first === undefined) break;
      const place = this.#keys.placeOf(first.key);
      start = place.next;
      if (place.config === undefined) continue;
      const config = { key: singleKey(place.config).start, revision: facts.revision, countOnly: true };
      if ((await this.#read(config, signal)).count > 0n) names.add(place.name);
    }
    return { ...facts, names };
  }

  #read(request: Parameters<typeof RangeRequest.fromPartial>[0], signal: AbortSignal) {
    return this.#connection.call(methods.range, RangeRequest.fromPartial(request), "list the networks", signal);
  }
}

function newsOf({ names, clusterId, revision }: Listing, isOtherStore: boolean): NetworkNews {
  const place: StorePlace = { id: clusterId === 0n ? "" : clusterId.toString(16), revision: String(revision) };
  return { type: "names", names, place, isOtherStore };
}
