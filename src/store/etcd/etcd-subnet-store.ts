// The etcd v3 adapter of the port SubnetStore: keys and values exactly as upstream flannel's.
import { randomInt } from "node:crypto";
import { BackOff } from "../../async/back-off.ts";
import { describeError, FlannelError, isCancelled } from "../../errors.ts";
import { keySpaceOf, singleKey } from "../../etcd-api/key-space.ts";
import { type LeaseRecord, readLeaseEvent } from "../../etcd-api/lease-record.ts";
import type { Lease, LeaseAttributes, LeaseChange, OwnLease } from "../../lease/lease.ts";
import type { CertificateInUse, LeaseRequest, NetworkConfigDocument, SubnetStore } from "../subnet-store.ts";
import { type AcquiredLease, acquireLease } from "./acquire-lease.ts";
import { EtcdConnection, type EtcdConnectionOptions } from "./etcd-connection.ts";
import { LeaseAdministration } from "./lease-administration.ts";
import { LeaseChangeBuffer } from "./lease-change-buffer.ts";
import { type LeaseDirectory, readLeaseRecords } from "./lease-directory.ts";
import { readKey } from "./operations.ts";
import type { RangeSnapshot } from "./read-prefix.ts";
import { renewLease } from "./renew-lease.ts";
import { watchKeys } from "./watch-keys.ts";

export interface EtcdSubnetStoreOptions extends EtcdConnectionOptions {
  /** Where flannel's keys are, `/coreos.com/network` by default in flanneld. */
  readonly prefix: string;
  /** Life of an unrenewed lease. Always flannel's 24 h except in tests. */
  readonly ttlSeconds?: number;
}

const leaseTtlSeconds = 86_400;

export class EtcdSubnetStore implements SubnetStore {
  readonly description: string;
  /** For flannelctl: what operators do to leases and configuration. */
  readonly administration: LeaseAdministration;
  readonly #connection: EtcdConnection;
  readonly #directory: LeaseDirectory;
  /** What acquiring read, until the watch begins with it: ten thousand leases need not be read twice. */
  #readByAcquire: RangeSnapshot<LeaseRecord> | undefined;
  #hasWatched = false;
  /** Of the store the network config was last read from. */
  #configClusterId = 0n;

  private constructor(connection: EtcdConnection, { prefix, ttlSeconds = leaseTtlSeconds }: EtcdSubnetStoreOptions) {
    this.#connection = connection;
    this.#directory = {
      connection,
      keys: keySpaceOf(prefix),
      ttlSeconds,
      random: (limit) => randomInt(limit),
      unsettledLeases: new Set(),
    };
    this.administration = new LeaseAdministration(this.#directory);
    this.description = `etcd ${connection.description}, prefix ${prefix}`;
  }

  /** Checks options and reads certificate files; connects at the first call. Throws `config.invalid`. */
  static async open(options: EtcdSubnetStoreOptions): Promise<EtcdSubnetStore> {
    return new EtcdSubnetStore(await EtcdConnection.open(options), options);
  }

  async networkConfig(signal: AbortSignal): Promise<NetworkConfigDocument> {
    const { document } = await this.#readConfig(signal);
    if (document !== undefined) return document;
    const { config } = this.#directory.keys;
    const message = `there is no network config in etcd at ${config}: write one with flannelctl config set`;
    throw new FlannelError("config.missing", message, { retryable: true });
  }

  async *watchNetworkConfig(
    after: bigint,
    signal: AbortSignal,
  ): AsyncGenerator<NetworkConfigDocument | undefined, void, undefined> {
    const range = singleKey(this.#directory.keys.config);
    let known: bigint | undefined = after;
    let start = after + 1n;
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
      if (current.document?.revision === known) continue;
      known = current.document?.revision;
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

  async list(signal: AbortSignal): Promise<readonly Lease[]> {
    const { items } = await readLeaseRecords(this.#directory, signal);
    return items.map(({ lease }) => lease).filter((lease) => lease !== undefined);
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

  certificates(): readonly CertificateInUse[] {
    return this.#connection.certificates();
  }

  reconnect(): void {
    this.#connection.reconnect();
  }

  /** Reads the certificate files again and moves all connections over. Throws `config.invalid`; then nothing changed. */
  async reloadCertificates(): Promise<void> {
    await this.#connection.reloadCertificates();
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
          buffer.pushEvents(events, item.revision);
          await buffer.waitForRoom(signal);
        } else if (item.type === "compacted") {
          isOtherStore = item.isOtherStore;
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
    const { revision, items } = snapshot;
    buffer.pushSnapshot({ type: "snapshot", ...sortRecords(items), revision, ...(isOtherStore && { isOtherStore }) });
    return { revision: snapshot.revision, clusterId: snapshot.clusterId };
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

  async #readConfig(signal: AbortSignal) {
    const { config } = this.#directory.keys;
    const { kv, revision, clusterId } = await readKey(this.#connection, config, "read the network config", signal);
    this.#configClusterId = clusterId;
    return { document: kv === undefined ? undefined : documentOf(kv), revision };
  }
}

function documentOf({ value, modRevision }: { value: Uint8Array; modRevision: bigint }): NetworkConfigDocument {
  return { text: Buffer.from(value).toString("utf8"), revision: modRevision };
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
