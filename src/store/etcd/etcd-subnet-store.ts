// The etcd v3 adapter of the port SubnetStore: keys and values exactly as upstream flannel's.
import { BackOff } from "../../async/back-off.ts";
import { describeError, isCancelled } from "../../errors.ts";
import { EtcdRevision, revisionNumber } from "../../etcd-api/etcd-lease.ts";
import { singleKey } from "../../etcd-api/key-space.ts";
import { type LeaseRecord, readLeaseEvent } from "../../etcd-api/lease-record.ts";
import type { Lease, LeaseAttributes, LeaseChange, OwnLease, Revision } from "../../lease/lease.ts";
import type { LeaseRequest, NetworkConfigDocument, StoreCertificates, SubnetStore } from "../subnet-store.ts";
import { type AcquiredLease, acquireLease } from "./acquire-lease.ts";
import { EtcdConnection, type EtcdConnectionOptions } from "./etcd-connection.ts";
import { LeaseChangeBuffer } from "./lease-change-buffer.ts";
import { type LeaseDirectory, leaseDirectory, listLeases, readLeaseRecords } from "./lease-directory.ts";
import { type ConfigSnapshot, configMissing, documentOf, readConfigKey } from "./network-config-key.ts";
import type { RangeSnapshot } from "./read-prefix.ts";
import { renewLease } from "./renew-lease.ts";
import { watchKeys } from "./watch-keys.ts";

export interface EtcdSubnetStoreOptions extends EtcdConnectionOptions {
  /** Where flannel's keys are, `/coreos.com/network` by default in flanneld. */
  readonly prefix: string;
  /** Life of an unrenewed lease. Always flannel's 24 h except in tests. */
  readonly ttlSeconds?: number;
}

export class EtcdSubnetStore implements SubnetStore {
  readonly description: string;
  readonly warnings: readonly string[];
  readonly certificates: StoreCertificates;
  readonly #connection: EtcdConnection;
  readonly #directory: LeaseDirectory;
  /** What acquiring read, until the watch begins with it: ten thousand leases need not be read twice. */
  #readByAcquire: RangeSnapshot<LeaseRecord> | undefined;
  #hasWatched = false;
  /** Of the store the network config was last read from. */
  #configClusterId = 0n;

  private constructor(connection: EtcdConnection, { prefix, ttlSeconds }: EtcdSubnetStoreOptions) {
    this.#connection = connection;
    this.#directory = leaseDirectory(connection, prefix, ttlSeconds);
    this.certificates = {
      inUse: () => connection.certificates(),
      reload: () => connection.reloadCertificates(),
    };
    this.warnings = connection.warnings;
    this.description = `etcd ${connection.description}, prefix ${prefix}`;
  }

  /** Checks options and reads certificate files; connects at the first call. Throws `CONFIG_INVALID`. */
  static async open(options: EtcdSubnetStoreOptions): Promise<EtcdSubnetStore> {
    return new EtcdSubnetStore(await EtcdConnection.open(options), options);
  }

  async networkConfig(signal: AbortSignal): Promise<NetworkConfigDocument> {
    const { document } = await this.#readConfig(signal);
    if (document === undefined) throw configMissing(this.#directory);
    return document;
  }

  async *watchNetworkConfig(
    after: Revision,
    signal: AbortSignal,
  ): AsyncGenerator<NetworkConfigDocument | undefined, void, undefined> {
    const range = singleKey(this.#directory.keys.config);
    let known: bigint | undefined = revisionNumber(after);
    let start = known + 1n;
    while (!signal.aborted) {
      for await (const item of watchKeys(this.#connection, range, start, signal, this.#configClusterId)) {
        if (item.type !== "events") continue;
        const kv = item.events.at(-1)?.kv;
        // A deleted key comes with version 0.
        known = kv === undefined || kv.version === 0n ? undefined : kv.modRevision;
        yield kv === undefined || known === undefined ? undefined : documentOf(kv);
      }
      const current = await this.#retry((attempt) => this.#readConfig(attempt), signal);
      if (current === undefined) return;
      start = current.revision + 1n;
      if (current.writtenAt === known) continue;
      known = current.writtenAt;
      yield current.document;
    }
  }

  async acquire(request: LeaseRequest, signal: AbortSignal): Promise<AcquiredLease> {
    const { lease, outcome, snapshot } = await acquireLease(this.#directory, request, signal);
    if (!this.#hasWatched) this.#readByAcquire = snapshot;
    return { lease, outcome };
  }

  renew(lease: OwnLease, attributes: LeaseAttributes, signal: AbortSignal): Promise<OwnLease> {
    return renewLease(this.#directory, lease, attributes, signal);
  }

  list(signal: AbortSignal): Promise<readonly Lease[]> {
    return listLeases(this.#directory, signal);
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LeaseChange, void, undefined> {
    const left = new AbortController();
    const inner = AbortSignal.any([signal, left.signal]);
    const buffer = new LeaseChangeBuffer();
    const filling = this.#fill(buffer, inner).finally(() => left.abort());
    // A failure is reported below, which may be later than Node would wait for.
    filling.catch(() => undefined);
    try {
      for (;;) {
        const change = await buffer.take(inner);
        if (change === undefined) return;
        yield change;
      }
    } finally {
      left.abort();
      await filling;
    }
  }

  reconnect(): void {
    this.#connection.reconnect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  /** Snapshot, then events, and again after a gap. Resolves when `signal` aborts. */
  async #fill(buffer: LeaseChangeBuffer, signal: AbortSignal): Promise<void> {
    const { keys } = this.#directory;
    let isOtherStore = false;
    const onFailure = (reason: string) => buffer.pushSign({ type: "disconnected", reason });
    while (!signal.aborted) {
      const position = await this.#pushSnapshot(buffer, isOtherStore, signal, onFailure);
      if (position === undefined) return;
      const { revision, clusterId } = position;
      const items = watchKeys(this.#connection, keys.directoryRange, revision + 1n, signal, clusterId);
      for await (const item of items) {
        if (item.type === "events") {
          const events = item.events.map((event) => readLeaseEvent(event, keys.directory));
          buffer.pushEvents(events, new EtcdRevision(item.revision));
          await buffer.waitForRoom(signal);
        } else if (item.type === "compacted") {
          isOtherStore = item.isOtherStore;
        } else if (item.type === "contact") {
          buffer.pushSign({ type: "contact", revision: new EtcdRevision(item.revision) });
        } else {
          buffer.pushSign(item);
        }
      }
    }
  }

  /**
   * Returns where the snapshot stands, undefined when `signal` aborts. The first one may be what acquiring read: all that
   * happened since then comes as events. A method of its own, so that nothing holds the records during the watch.
   */
  async #pushSnapshot(
    buffer: LeaseChangeBuffer,
    isOtherStore: boolean,
    signal: AbortSignal,
    onFailure: (reason: string) => void,
  ): Promise<Pick<RangeSnapshot<LeaseRecord>, "revision" | "clusterId"> | undefined> {
    const known = this.#readByAcquire;
    this.#readByAcquire = undefined;
    this.#hasWatched = true;
    const read = (attempt: AbortSignal) => readLeaseRecords(this.#directory, attempt);
    const snapshot = known ?? (await this.#retry(read, signal, onFailure));
    if (snapshot === undefined) return undefined;
    const { revision, clusterId, items } = snapshot;
    const truth = { ...sortRecords(items), revision: new EtcdRevision(revision) };
    buffer.pushSnapshot({ type: "snapshot", ...truth, ...(isOtherStore && { isOtherStore }) });
    return { revision, clusterId };
  }

  /** Until it works, or undefined when `signal` aborts. `onFailure` is told once. */
  async #retry<T>(
    attempt: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
    onFailure: (reason: string) => void = () => undefined,
  ): Promise<T | undefined> {
    const backOff = new BackOff({ firstMs: 100, maxMs: 5_000 });
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        return await attempt(signal);
      } catch (error) {
        if (signal.aborted || isCancelled(error)) return undefined;
        if (failures === 0) onFailure(describeError(error));
        await backOff.wait(signal).catch(() => undefined);
      }
    }
    return undefined;
  }

  async #readConfig(signal: AbortSignal): Promise<ConfigSnapshot> {
    const snapshot = await readConfigKey(this.#directory, signal);
    this.#configClusterId = snapshot.clusterId;
    return snapshot;
  }
}

function sortRecords(
  records: readonly LeaseRecord[],
): Pick<Extract<LeaseChange, { type: "snapshot" }>, "leases" | "unreadable"> {
  const leases: Lease[] = [];
  const unreadable: { key: string; reason: string }[] = [];
  for (const { key, lease, reason = "" } of records) {
    if (lease === undefined) unreadable.push({ key, reason });
    else leases.push(lease);
  }
  return { leases, unreadable };
}
