// What operators do to leases and configuration, directly in the store: reservations, release, config.
// Every write is compare-and-set: a command never undoes what an agent wrote at the same moment.
import type { NetworkConfig } from "../../config/network-config.ts";
import { FlannelError } from "../../errors.ts";
import { RangeRequest } from "../../etcd-api/etcd.ts";
import { type LeaseRecord, readLeaseRecord } from "../../etcd-api/lease-record.ts";
import { incompatibility, subnetsOverlap } from "../../lease/allocator.ts";
import type { LeaseAttributes, LeasedSubnets, OwnLease } from "../../lease/lease.ts";
import { formatLeaseKey } from "../../lease/lease-key.ts";
import { describeOwner, hasSamePublicIp } from "../../lease/lease-owner.ts";
import type { NetworkConfigDocument } from "../subnet-store.ts";
import {
  describeSubnets,
  isOverlappedByOlder,
  type LeaseDirectory,
  readLeaseRecords,
  writeLease,
} from "./lease-directory.ts";
import { deleteIf, putIf, readKey } from "./operations.ts";
import { methods } from "./rpc.ts";

export interface ReservationRequest {
  readonly config: NetworkConfig;
  /** Of a dual-stack network either both subnets, or one that an existing lease has. */
  readonly subnets: LeasedSubnets;
  /** Whose subnet it shall be. */
  readonly owner: Pick<LeaseAttributes, "publicIp" | "publicIpv6">;
}

/** `created`: a new key; `kept`: a live lease lost its expiry; `unchanged`: it was this reservation already. */
export type ReservationOutcome = "created" | "kept" | "unchanged";

/** `deleted`: the key is gone; `expiring`: it has the usual life again, which the host renews if it is alive. */
export type ReleaseOutcome = "deleted" | "expiring";

/** Parallel requests for remaining times; etcd answers each from memory. */
const TIME_TO_LIVE_CONCURRENCY = 50;
const MAX_RACES = 10;

export class LeaseAdministration {
  readonly #directory: LeaseDirectory;

  constructor(directory: LeaseDirectory) {
    this.#directory = directory;
  }

  /**
   * Makes a subnet belong to one public IP for good: writes a key without expiry, or takes the expiry off the live lease
   * of that host. Throws `config.invalid` when the subnet does not fit the network, `lease.conflict` when another host
   * or an overlapping lease has it.
   */
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

  /**
   * Takes a reservation back. One that a host ever took over gets its usual life again; one that nobody ever took over
   * (still as `reserve` wrote it) is deleted. An ordinary lease is deleted only with `force`, else `lease.conflict`.
   * `lease.lost` when there is no such key.
   */
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

  /**
   * Writes the network configuration while its revision is still `expectedRevision` (0n: while there is none); resolves
   * with the new revision. Validation is the caller's. Throws `config.conflict` when somebody else changed it.
   */
  async setConfig(
    text: string,
    options: { readonly expectedRevision: bigint },
    signal: AbortSignal,
  ): Promise<NetworkConfigDocument> {
    const { connection, keys } = this.#directory;
    const { expectedRevision } = options;
    const put = {
      key: keys.config,
      expectedRevision,
      value: text,
      storeLeaseId: 0n,
      operation: "write the network config",
    };
    const outcome = await putIf(connection, put, signal);
    if (outcome.isDone) return { text, revision: outcome.revision };
    throw new FlannelError("config.conflict", "the network config was changed meanwhile: read it again and repeat", {
      details: { expectedRevision, currentRevision: outcome.current?.modRevision ?? 0n },
    });
  }

  /** Number of keys in the lease directory, reservations and unreadable ones included. */
  async leaseCount(signal: AbortSignal): Promise<number> {
    const { connection, keys } = this.#directory;
    const { start: key, end: rangeEnd } = keys.directoryRange;
    const request = RangeRequest.fromPartial({ key, rangeEnd, countOnly: true });
    const { count } = await connection.call(methods.range, request, "count the leases", signal);
    return Number(count);
  }

  /** Seconds left to each store lease that still lives, asked one by one: for people, never for the agent. */
  async timeToLive(storeLeaseIds: readonly bigint[], signal: AbortSignal): Promise<ReadonlyMap<bigint, number>> {
    const seconds = new Map<bigint, number>();
    const waiting = [...new Set(storeLeaseIds)].filter((id) => id !== 0n);
    const work = async () => {
      for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
        const request = { id, keys: false };
        const { connection } = this.#directory;
        const { ttl } = await connection.call(methods.leaseTimeToLive, request, "ask how long a lease lives", signal);
        if (ttl >= 0n) seconds.set(id, Number(ttl));
      }
    };
    await Promise.all(Array.from({ length: Math.min(TIME_TO_LIVE_CONCURRENCY, waiting.length) }, work));
    return seconds;
  }

  async #createReservation(
    { config, subnets, owner }: ReservationRequest,
    records: readonly LeaseRecord[],
    listRevision: bigint,
    signal: AbortSignal,
  ) {
    const problem = incompatibility(subnets, config);
    if (problem !== undefined) {
      throw new FlannelError("config.invalid", `${describeSubnets(subnets)} cannot be reserved: ${problem}`);
    }
    const other = records.find((record) => record.subnets && subnetsOverlap(record.subnets, subnets));
    if (other !== undefined) throw alreadyTaken(subnets, other);
    const key = formatLeaseKey(subnets);
    const write = { key, subnets, attributes: owner, expectedRevision: 0n, isReservation: true };
    const lease = await writeLease(this.#directory, write, signal);
    if (lease === undefined) return undefined;
    if (await isOverlappedByOlder(this.#directory, lease, listRevision, signal)) {
      await this.#delete(lease, signal);
      return undefined;
    }
    return { lease, outcome: "created" as const };
  }

  async #keepExisting({ owner, subnets }: ReservationRequest, record: LeaseRecord, signal: AbortSignal) {
    const { lease, storeLeaseId } = record;
    if (lease === undefined || !hasSamePublicIp(lease.attributes, owner)) throw alreadyTaken(subnets, record);
    if (storeLeaseId === 0n) return { lease: { ...lease, isReservation: true }, outcome: "unchanged" as const };
    const kept = await this.#rewrite(record, true, signal);
    return kept && { lease: kept, outcome: "kept" as const };
  }

  /** Same value, other life. An unreadable value has none to write again. */
  async #rewrite(
    { key, subnets = {}, lease, revision, reason }: LeaseRecord,
    isReservation: boolean,
    signal: AbortSignal,
  ) {
    if (lease === undefined) throw new FlannelError("lease.conflict", `lease ${key} cannot be read: ${reason}`);
    const { attributes } = lease;
    return await writeLease(
      this.#directory,
      { key, subnets, attributes, expectedRevision: revision, isReservation },
      signal,
    );
  }

  async #readRecord(key: string, signal: AbortSignal): Promise<LeaseRecord> {
    const { connection, keys } = this.#directory;
    const { kv } = await readKey(connection, keys.directory + key, `read lease ${key}`, signal);
    if (kv === undefined) throw new FlannelError("lease.lost", `there is no lease ${key}; see flannelctl lease list`);
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

/** As `reserve` wrote it: one write, and nothing that only a running host can know. */
function isNeverClaimed({ version, lease }: LeaseRecord): boolean {
  const isBare = lease?.attributes.backendType === undefined && lease?.attributes.backendData === undefined;
  return lease === undefined || (version === 1n && isBare);
}

function refuseRelease({ key, lease }: LeaseRecord): FlannelError {
  const owner = lease === undefined ? "an unknown host" : describeOwner(lease.attributes);
  const message = `lease ${key} is in use by ${owner}, it is no reservation; --force deletes it all the same`;
  return new FlannelError("lease.conflict", message, { details: { key } });
}

function alreadyTaken(subnets: LeasedSubnets, { key, lease }: LeaseRecord): FlannelError {
  const owner = lease === undefined ? "an unknown host" : describeOwner(lease.attributes);
  const message = `${describeSubnets(subnets)} cannot be reserved: lease ${key} belongs to ${owner}`;
  return new FlannelError("lease.conflict", message, { details: { key, owner: lease?.attributes.publicIp } });
}

function busy(key: string): FlannelError {
  return new FlannelError("lease.conflict", `lease ${key} is being written by somebody else all the time: try again`, {
    retryable: true,
  });
}
