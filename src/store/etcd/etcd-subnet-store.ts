// The etcd v3 adapter of the port SubnetStore: keys and values exactly as upstream flannel's.
import { revisionNumber } from "../../etcd-api/etcd-lease.ts";
import { singleKey } from "../../etcd-api/key-space.ts";
import type { Address } from "../../ip/address.ts";
import { bufferedChanges } from "../../lease/buffered-changes.ts";
import type { Lease, LeaseAttributes, LeaseChange, OwnLease, Revision } from "../../lease/lease.ts";
import type { LeaseChangeBuffer } from "../../lease/lease-change-buffer.ts";
import { ResolvedHosts } from "../../sys/resolved-hosts.ts";
import type { LeaseRequest, NetworkConfigDocument, StoreCertificates, SubnetStore } from "../subnet-store.ts";
import { type AcquiredLease, acquireLease } from "./acquire-lease.ts";
import { parseEndpoints } from "./endpoints.ts";
import { EtcdConnection, type EtcdConnectionOptions } from "./etcd-connection.ts";
import { followLeases } from "./follow-leases.ts";
import { type AuditTimings, defaultAuditTimings } from "./lease-audit.ts";
import { type LeaseDirectory, type LeaseSnapshot, leaseDirectory, listLeases } from "./lease-directory.ts";
import { type ConfigSnapshot, configMissing, documentOf, readConfigKey } from "./network-config-key.ts";
import { renewLease } from "./renew-lease.ts";
import { retryWhileFollowing } from "./retry-while-following.ts";
import { StorePast, unknownPast } from "./store-past.ts";
import { watchKeys } from "./watch-keys.ts";
import { readWithoutLeader } from "./without-leader.ts";

export interface EtcdSubnetStoreOptions extends EtcdConnectionOptions {
  /** Where flannel's keys are, `/coreos.com/network` by default in flanneld. */
  readonly prefix: string;
  /** Life of an unrenewed lease. Always flannel's 24 h except in tests. */
  readonly ttlSeconds?: number;
  readonly auditTimings?: Partial<AuditTimings>;
}

/** A connection that several stores use. */
export interface SharedConnection {
  readonly connection: EtcdConnection;
  readonly addresses: ResolvedHosts;
  /** In place of the connection's own: each of them asks for it. */
  readonly reconnect: () => void;
}

export class EtcdSubnetStore implements SubnetStore {
  readonly description: string;
  readonly warnings: readonly string[];
  readonly certificates: StoreCertificates;
  readonly #addresses: ResolvedHosts;
  readonly #connection: EtcdConnection;
  readonly #directory: LeaseDirectory;
  /** What acquiring read, until the watch begins with it: ten thousand leases need not be read twice. */
  #readByAcquire: LeaseSnapshot | "nothing" | "watching" = "nothing";
  /** As last read. */
  #config: ConfigSnapshot | undefined;
  readonly #auditTimings: AuditTimings;

  /** Where the connection is shared: it stays the caller's. */
  readonly #shared: SharedConnection | undefined;

  private constructor(connection: EtcdConnection, options: EtcdSubnetStoreOptions, shared?: SharedConnection) {
    const { prefix, ttlSeconds, auditTimings } = options;
    this.#connection = connection;
    this.#shared = shared;
    this.#addresses = shared?.addresses ?? resolvedEndpoints(options);
    this.#auditTimings = { ...defaultAuditTimings, ...auditTimings };
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

  /** One of several over one connection, which `options` describe. */
  static over(shared: SharedConnection, options: EtcdSubnetStoreOptions): EtcdSubnetStore {
    return new EtcdSubnetStore(shared.connection, options, shared);
  }

  addresses(): readonly Address[] {
    return this.#addresses.current();
  }

  async networkConfig(signal: AbortSignal): Promise<NetworkConfigDocument> {
    // What is planned from it must know them.
    await this.#addresses.ready;
    const { document } = await readWithoutLeader((isStale) => this.#readConfig(signal, isStale));
    if (document === undefined) throw configMissing(this.#directory);
    return document;
  }

  async *watchNetworkConfig(
    after: Revision,
    signal: AbortSignal,
  ): AsyncGenerator<NetworkConfigDocument | undefined, void, undefined> {
    let read = this.#config;
    let known = read && { text: read.document?.text };
    let startRevision = revisionNumber(after) + 1n;
    while (!signal.aborted) {
      // A watch may leave something out without a sign, see lease-audit.ts. One key is soon read again.
      const turn = AbortSignal.any([signal, AbortSignal.timeout(this.#auditTimings.intervalMs)]);
      for await (const item of this.#watchConfig(startRevision, read, turn)) {
        if (item === "opened") {
          if (await this.#hasUntoldConfig(known, startRevision, turn)) break;
        } else {
          known = { text: item?.text };
          yield item;
        }
      }
      const current = await retryWhileFollowing((attempt) => this.#readConfig(attempt), signal);
      if (current === undefined) return;
      read = current;
      startRevision = current.revision + 1n;
      const { document } = current;
      if (known !== undefined && document?.text === known.text) continue;
      known = { text: document?.text };
      yield document;
    }
  }

  /** What cannot be read comes by the watch when it can be read. */
  async #hasUntoldConfig(
    known: Parameters<typeof isUntold>[1],
    startRevision: bigint,
    signal: AbortSignal,
  ): Promise<boolean> {
    const now = await this.#readConfig(signal).catch(() => undefined);
    return now !== undefined && isUntold(now, known, startRevision);
  }

  async acquire(request: LeaseRequest, signal: AbortSignal): Promise<AcquiredLease> {
    const { lease, outcome, snapshot } = await acquireLease(this.#directory, request, signal);
    if (this.#readByAcquire !== "watching") this.#readByAcquire = snapshot;
    return { lease, outcome };
  }

  renew(lease: OwnLease, attributes: LeaseAttributes, signal: AbortSignal, mustWrite = false): Promise<OwnLease> {
    return renewLease(this.#directory, lease, { attributes, mustWrite }, signal);
  }

  list(signal: AbortSignal): Promise<readonly Lease[]> {
    return listLeases(this.#directory, signal);
  }

  watch(signal: AbortSignal): AsyncGenerator<LeaseChange, void, undefined> {
    const fill = (buffer: LeaseChangeBuffer, inner: AbortSignal) =>
      followLeases({
        directory: this.#directory,
        buffer,
        takeKnown: () => this.#takeKnown(),
        auditTimings: this.#auditTimings,
        signal: inner,
      });
    return bufferedChanges(fill, signal);
  }

  reconnect(): void {
    if (this.#shared === undefined) this.#connection.reconnect();
    else this.#shared.reconnect();
  }

  #takeKnown(): LeaseSnapshot | undefined {
    const known = this.#readByAcquire;
    this.#readByAcquire = "watching";
    return known === "nothing" || known === "watching" ? undefined : known;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#shared === undefined) await this.#connection[Symbol.asyncDispose]();
  }

  /** Versions, undefined for the deleted key, and "opened" for each new watch. Ends when everything is to be read. */
  async *#watchConfig(
    startRevision: bigint,
    read: ConfigSnapshot | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<NetworkConfigDocument | "opened" | undefined, void, undefined> {
    const past = read === undefined ? unknownPast() : new StorePast(read, read.kv);
    const start = { range: singleKey(this.#directory.keys.config), startRevision, past };
    for await (const item of watchKeys(this.#connection, start, signal)) {
      if (item.type === "contact" && item.isNew === true) yield "opened";
      const kv = item.type === "events" ? item.events.at(-1)?.kv : undefined;
      // A deleted key comes with version 0.
      if (kv !== undefined) yield kv.version === 0n ? undefined : documentOf(kv);
    }
  }

  async #readConfig(signal: AbortSignal, serializable = false): Promise<ConfigSnapshot> {
    this.#config = await readConfigKey(this.#directory, signal, serializable);
    return this.#config;
  }
}

/** Names are looked up while they are asked for. */
export function resolvedEndpoints({ endpoints, tls = {} }: EtcdConnectionOptions): ResolvedHosts {
  const reached = parseEndpoints(endpoints, tls).endpoints.filter(({ isSocket }) => !isSocket);
  return new ResolvedHosts(reached.map(({ host }) => host));
}

/** Whether the key is not as we know it, and a watch from `startRevision` on does not tell. */
function isUntold(
  { kv, document }: ConfigSnapshot,
  known: { readonly text: string | undefined } | undefined,
  startRevision: bigint,
): boolean {
  if (known === undefined || document?.text === known.text) return false;
  return kv === undefined || kv.modRevision < startRevision;
}
