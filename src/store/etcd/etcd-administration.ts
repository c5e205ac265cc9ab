// The etcd v3 adapter of the port LeaseAdministration: reservations, release, configuration, copies.
import { FlannelError } from "../../errors.ts";
import { EtcdRevision, revisionNumber, storeLeaseIdOf } from "../../etcd-api/etcd-lease.ts";
import { type LeaseRecord, readLeaseRecord } from "../../etcd-api/lease-record.ts";
import { incompatibility, subnetsOverlap } from "../../lease/allocator.ts";
import type { Lease, LeasedSubnets, OwnLease, Revision } from "../../lease/lease.ts";
import { formatLeaseKey } from "../../lease/lease-key.ts";
import { describeOwner, hasSamePublicIp } from "../../lease/lease-owner.ts";
import type {
  LeaseAdministration,
  ReleaseOutcome,
  ReservationOutcome,
  ReservationRequest,
} from "../lease-administration.ts";
import type { StoreTransfer } from "../store-transfer.ts";
import type { NetworkConfigDocument } from "../subnet-store.ts";
import { EtcdConnection, type EtcdConnectionOptions } from "./etcd-connection.ts";
import {
  describeSubnets,
  isNeverClaimed,
  isOverlappedByOlder,
  type LeaseDirectory,
  leaseDirectory,
  listLeases,
  readLeaseRecords,
  writeLease,
} from "./lease-directory.ts";
import { configMissing, readConfigKey } from "./network-config-key.ts";
import { deleteIf, putIf, readKey, tryPut } from "./operations.ts";
import { methods } from "./rpc.ts";
import { exportKeys, importKeys } from "./transfer.ts";

export interface EtcdAdministrationOptions extends EtcdConnectionOptions {
  readonly prefix: string;
}

/** Parallel requests for remaining times; etcd answers each from memory. */
const TIME_TO_LIVE_CONCURRENCY = 50;
const MAX_RACES = 10;

export class EtcdAdministration implements LeaseAdministration {
  readonly transfer: StoreTransfer;
  readonly warnings: readonly string[];
  readonly #directory: LeaseDirectory;

  private constructor(directory: LeaseDirectory) {
    const { connection, keys } = directory;
    this.#directory = directory;
    this.warnings = connection.warnings;
    this.transfer = {
      root: keys.root,
      exportKeys: (signal) => exportKeys(connection, keys, signal),
      importKeys: (exported, { keepsLeases }, signal) => importKeys(connection, keys, exported, keepsLeases, signal),
    };
  }

  /** Checks options and reads certificate files; connects at the first call. Throws `CONFIG_INVALID`. */
  static async open(options: EtcdAdministrationOptions): Promise<EtcdAdministration> {
    return new EtcdAdministration(leaseDirectory(await EtcdConnection.open(options), options.prefix));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#directory.connection[Symbol.asyncDispose]();
  }

  async networkConfig(signal: AbortSignal): Promise<NetworkConfigDocument> {
    const { document } = await readConfigKey(this.#directory, signal);
    if (document === undefined) throw configMissing(this.#directory);
    return document;
  }

  list(signal: AbortSignal): Promise<readonly Lease[]> {
    return listLeases(this.#directory, signal);
  }

  async tryWrite(key: string, signal: AbortSignal): Promise<void> {
    const { connection, keys } = this.#directory;
    await tryPut(connection, `${keys.directory}${key}`, signal);
  }

  async reserve(
    request: ReservationRequest,
    signal: AbortSignal,
  ): Promise<{ lease: OwnLease; outcome: ReservationOutcome }> {
    for (let race = 0; race < MAX_RACES; race++) {
      const { items, revision } = await readLeaseRecords(this.#directory, signal);
      const existing = items.find((record) => record.subnets && isSameLease(record.subnets, request.subnets));
      const reserved =
        existing === undefined
          ? await this.#createReservation(request, items, revision, signal)
          : await this.#keepExisting(request, existing, signal);
      if (reserved !== undefined) return reserved;
    }
    throw busy(formatLeaseKey(request.subnets));
  }

  async release(key: string, options: { readonly force?: boolean }, signal: AbortSignal): Promise<ReleaseOutcome> {
    for (let race = 0; race < MAX_RACES; race++) {
      const record = await this.#readRecord(key, signal);
      const isReservation = record.storeLeaseId === 0n;
      if (!isReservation && options.force !== true) throw refuseRelease(record);
      if (!isReservation || isNeverClaimed(record)) {
        if (await this.#delete(record, signal)) return "deleted";
      } else if ((await this.#rewrite(record, false, signal)) !== undefined) {
        return "expiring";
      }
    }
    throw busy(key);
  }

  async setConfig(text: string, read: Revision | undefined, signal: AbortSignal): Promise<NetworkConfigDocument> {
    const { connection, keys } = this.#directory;
    const expectedRevision = read === undefined ? 0n : revisionNumber(read);
    const put = {
      key: keys.config,
      expectedRevision,
      value: text,
      storeLeaseId: 0n,
      operation: "write the network config",
    };
    const outcome = await putIf(connection, put, signal);
    if (outcome.isDone) return { text, revision: new EtcdRevision(outcome.revision) };
    throw new FlannelError(
      "CONFIG_CONFLICT",
      "another program changed the network config before this write: read it again and repeat",
      {
        details: { expectedRevision, currentRevision: outcome.current?.modRevision ?? 0n },
      },
    );
  }

  async timeToLive(leases: readonly Lease[], signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
    const seconds = new Map<bigint, number>();
    const waiting = [...new Set(leases.map(storeLeaseIdOf))].filter((id) => id !== 0n);
    const work = async () => {
      for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
        const request = { id, keys: false };
        const { connection } = this.#directory;
        const { ttl } = await connection.call(
          methods.leaseTimeToLive,
          request,
          "read the remaining time of a lease",
          signal,
        );
        if (ttl >= 0n) seconds.set(id, Number(ttl));
      }
    };
    await Promise.all(Array.from({ length: Math.min(TIME_TO_LIVE_CONCURRENCY, waiting.length) }, work));
    return new Map(
      leases.flatMap((lease) => {
        const left = seconds.get(storeLeaseIdOf(lease));
        return left === undefined ? [] : [[lease.key, left] as const];
      }),
    );
  }

  isSameGrant(before: Lease, now: Lease): boolean {
    return storeLeaseIdOf(before) === storeLeaseIdOf(now);
  }

  async #createReservation(
    { config, subnets, owner }: ReservationRequest,
    records: readonly LeaseRecord[],
    listRevision: bigint,
    signal: AbortSignal,
  ) {
    const problem = incompatibility(subnets, config);
    if (problem !== undefined) {
      throw new FlannelError("CONFIG_INVALID", `${describeSubnets(subnets)} cannot be reserved: ${problem}`);
    }
    const other = records.find((record) => record.subnets && subnetsOverlap(record.subnets, subnets));
    if (other !== undefined) throw alreadyTaken(subnets, other);
    const key = formatLeaseKey(subnets);
    const write = { key, subnets, attributes: owner, expectedRevision: 0n, isReservation: true };
    const lease = await writeLease(this.#directory, write, signal);
    if (lease === undefined) return undefined;
    if (await isOverlappedByOlder(this.#directory, lease, listRevision, signal)) {
      await this.#delete({ key, revision: revisionNumber(lease.revision) }, signal);
      return undefined;
    }
    return { lease, outcome: "created" as const };
  }

  async #keepExisting({ owner, subnets }: ReservationRequest, record: LeaseRecord, signal: AbortSignal) {
    const { lease, storeLeaseId } = record;
    if (lease === undefined || !hasSamePublicIp(lease.attributes, owner)) throw alreadyTaken(subnets, record);
    if (storeLeaseId === 0n) return { lease, outcome: "unchanged" as const };
    const kept = await this.#rewrite(record, true, signal);
    return kept && { lease: kept, outcome: "kept" as const };
  }

  /** Same value, other life. An unreadable value has none to write again. */
  async #rewrite(
    { key, subnets = {}, lease, revision, createRevision, reason }: LeaseRecord,
    isReservation: boolean,
    signal: AbortSignal,
  ) {
    if (lease === undefined) throw new FlannelError("LEASE_CONFLICT", `lease ${key} cannot be read: ${reason}`);
    const { attributes } = lease;
    return await writeLease(
      this.#directory,
      { key, subnets, attributes, expectedRevision: revision, createRevision, isReservation },
      signal,
    );
  }

  async #readRecord(key: string, signal: AbortSignal): Promise<LeaseRecord> {
    const { connection, keys } = this.#directory;
    const { kv } = await readKey(connection, keys.directory + key, `read lease ${key}`, signal);
    if (kv === undefined) throw new FlannelError("LEASE_LOST", `there is no lease ${key}; see flannelctl lease list`);
    return readLeaseRecord(kv, keys.directory);
  }

  async #delete({ key, revision }: { key: string; revision: bigint }, signal: AbortSignal): Promise<boolean> {
    const { connection, keys } = this.#directory;
    const write = { key: keys.directory + key, expectedRevision: revision, operation: `delete lease ${key}` };
    const outcome = await deleteIf(connection, write, signal);
    return outcome.isDone || outcome.current === undefined;
  }
}

/** Whether `wanted` names `lease`, completely or by the family it gives. */
function isSameLease(lease: LeasedSubnets, wanted: LeasedSubnets): boolean {
  const isSame = wanted.subnet === undefined || wanted.subnet === lease.subnet;
  return isSame && (wanted.ipv6Subnet === undefined || wanted.ipv6Subnet === lease.ipv6Subnet);
}

function refuseRelease({ key, lease }: LeaseRecord): FlannelError {
  const owner = lease === undefined ? "an unknown host" : describeOwner(lease.attributes);
  const message = `lease ${key} is in use by ${owner} and is not a reservation; --force deletes it`;
  return new FlannelError("LEASE_CONFLICT", message, { details: { key } });
}

function alreadyTaken(subnets: LeasedSubnets, { key, lease }: LeaseRecord): FlannelError {
  const owner = lease === undefined ? "an unknown host" : describeOwner(lease.attributes);
  const message = `${describeSubnets(subnets)} cannot be reserved: lease ${key} belongs to ${owner}`;
  return new FlannelError("LEASE_CONFLICT", message, { details: { key, owner: lease?.attributes.publicIp } });
}

function busy(key: string): FlannelError {
  return new FlannelError("LEASE_CONFLICT", `lease ${key} is contended: another program keeps writing it; try again`, {
    retryable: true,
  });
}
