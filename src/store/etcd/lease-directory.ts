// The directory of leases in one etcd: reading all records, and writing one key by compare-and-set.
// Shared by acquiring, renewing, watching and by the operator's commands.
import { randomInt } from "node:crypto";
import { hasCode } from "../../errors.ts";
import type { KeyValue } from "../../etcd-api/etcd.ts";
import { etcdLease, revisionNumber } from "../../etcd-api/etcd-lease.ts";
import { type KeySpace, keySpaceOf } from "../../etcd-api/key-space.ts";
import { type LeaseRecord, readLeaseRecord, readLeaseStamp } from "../../etcd-api/lease-record.ts";
import { type RandomInteger, subnetsOverlap } from "../../lease/allocator.ts";
import { type Lease, type LeaseAttributes, type LeasedSubnets, type OwnLease, prefixesOf } from "../../lease/lease.ts";
import { formatLeaseValue, parseLeaseValue } from "../../lease/lease-value.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import { grantStoreLease, moveIf, putIf, revokeStoreLease, type StoreLease } from "./operations.ts";
import { type RangeSnapshot, readRange } from "./read-prefix.ts";

/** What all lease operations need. */
export interface LeaseDirectory {
  readonly connection: EtcdConnection;
  readonly keys: KeySpace;
  /** Life of an unrenewed lease; flannel's 86,400 except in tests. */
  readonly ttlSeconds: number;
  readonly random: RandomInteger;
  /** Store leases of writes whose answer was lost: a key that hangs on one of them was written by us. */
  readonly unsettledLeases: Set<bigint>;
}

/** flannel's, always. */
const LEASE_TTL_SECONDS = 86_400;

/** `ttlSeconds` is given in tests only. */
export function leaseDirectory(
  connection: EtcdConnection,
  prefix: string,
  ttlSeconds: number = LEASE_TTL_SECONDS,
): LeaseDirectory {
  const random = (limit: number) => randomInt(limit);
  return { connection, keys: keySpaceOf(prefix), ttlSeconds, random, unsettledLeases: new Set() };
}

/** Those that can be read, at one revision. */
export async function listLeases(directory: LeaseDirectory, signal: AbortSignal): Promise<readonly Lease[]> {
  const { items } = await readLeaseRecords(directory, signal);
  return items.map(({ lease }) => lease).filter((lease) => lease !== undefined);
}

export interface LeaseSnapshot extends RangeSnapshot<LeaseRecord> {
  /** The latest write among them. */
  readonly lastPut: KeyValue | undefined;
}

export async function readLeaseRecords(
  { connection, keys }: LeaseDirectory,
  signal: AbortSignal,
  serializable = false,
): Promise<LeaseSnapshot> {
  let lastPut: KeyValue | undefined;
  const read = (kv: KeyValue) => {
    if (lastPut === undefined || kv.modRevision > lastPut.modRevision) lastPut = kv;
    return readLeaseRecord(kv, keys.directory);
  };
  const snapshot = await readRange(connection, keys.directoryRange, read, signal, { serializable });
  return { ...snapshot, lastPut: lastPut && copyOf(lastPut) };
}

/** Everything but the values, as cheaply as it can be had. */
export async function readLeaseStamps({ connection, keys }: LeaseDirectory, signal: AbortSignal) {
  const read = (kv: KeyValue) => readLeaseStamp(kv, keys.directory);
  const { items } = await readRange(connection, keys.directoryRange, read, signal, { keysOnly: true });
  return items;
}

/** Without the page of the answer that its bytes lie in. */
function copyOf(kv: KeyValue): KeyValue {
  return { ...kv, key: Uint8Array.from(kv.key), value: Uint8Array.from(kv.value) };
}

export interface LeaseWrite {
  readonly key: string;
  readonly subnets: LeasedSubnets;
  readonly attributes: LeaseAttributes;
  /** Revision of the record that is replaced; 0n creates the key. */
  readonly expectedRevision: bigint;
  /** Revision at which the record that is replaced was created; missing for a new key. */
  readonly createRevision?: bigint;
  readonly isReservation: boolean;
  /** The record that this one takes the place of under another key, in the same transaction. */
  readonly movedFrom?: { readonly key: string; readonly revision: bigint };
}

/** Resolves with undefined when another writer was first; then nothing was changed. */
export async function writeLease(
  directory: LeaseDirectory,
  write: LeaseWrite,
  signal: AbortSignal,
): Promise<OwnLease | undefined> {
  if (write.isReservation) return await putLease(directory, write, undefined, signal);
  const storeLease = await grantStoreLease(directory.connection, directory.ttlSeconds, signal);
  const isNew = write.expectedRevision === 0n && write.movedFrom === undefined;
  try {
    const lease = await putLease(directory, write, storeLease, signal);
    if (lease === undefined) await revokeStoreLease(directory.connection, storeLease.id);
    return lease;
  } catch (error) {
    // Unless it was refused, the put may have been carried out. A new key is better gone; an existing one must not vanish
    // with the lease.
    if (isNew || hasCode(error, "STORE_UNAUTHORIZED")) await revokeStoreLease(directory.connection, storeLease.id);
    else directory.unsettledLeases.add(storeLease.id);
    throw error;
  }
}

async function putLease(
  { connection, keys }: LeaseDirectory,
  { key, subnets, attributes, expectedRevision, createRevision, movedFrom }: LeaseWrite,
  storeLease: StoreLease | undefined,
  signal: AbortSignal,
): Promise<OwnLease | undefined> {
  const value = formatLeaseValue(attributes);
  const operation = `write lease ${key}`;
  const storeLeaseId = storeLease?.id ?? 0n;
  const put = { key: keys.directory + key, expectedRevision, value, storeLeaseId, operation };
  const from = movedFrom && { key: keys.directory + movedFrom.key, expectedRevision: movedFrom.revision };
  const outcome = await (from === undefined ? putIf(connection, put, signal) : moveIf(connection, from, put, signal));
  if (!outcome.isDone) return undefined;
  return {
    ...etcdLease({
      ...onlySubnets(subnets),
      key,
      // Exactly what a watch will tell about this write.
      attributes: parseLeaseValue(value),
      revision: outcome.revision,
      createRevision: createRevision ?? outcome.revision,
      storeLeaseId,
    }),
    ...(storeLease !== undefined && { expiresAtMs: storeLease.expiresAtMs }),
  };
}

/** As an operator's reservation is written: one write, and nothing that only a running host can know. */
export function isNeverClaimed({ version, lease }: LeaseRecord): boolean {
  const isBare = lease?.attributes.backendType === undefined && lease?.attributes.backendData === undefined;
  return lease === undefined || (version === 1n && isBare);
}

/**
 * Whether a lease created before `lease`, but after `listRevision`, shares addresses with it under another name (dual
 * stack, or a changed SubnetLen): names alone cannot exclude that. Of two such leases the older one stays.
 */
export async function isOverlappedByOlder(
  { connection, keys }: LeaseDirectory,
  lease: OwnLease,
  listRevision: bigint,
  signal: AbortSignal,
): Promise<boolean> {
  const filter = { keysOnly: true, minCreateRevision: listRevision + 1n };
  const toRecord = (kv: KeyValue) => readLeaseRecord(kv, keys.directory);
  const { items } = await readRange(connection, keys.directoryRange, toRecord, signal, filter);
  const older = items.filter(({ createRevision }) => createRevision < revisionNumber(lease.revision));
  return older.some(({ subnets }) => subnets !== undefined && subnetsOverlap(subnets, lease));
}

/** Of a lease nothing but its subnets. */
function onlySubnets({ subnet, ipv6Subnet }: LeasedSubnets): LeasedSubnets {
  return { ...(subnet !== undefined && { subnet }), ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
}

/** Subnets for a person: `10.5.34.0/24 and fd00::/64`. */
export function describeSubnets(subnets: LeasedSubnets): string {
  return prefixesOf(subnets).join(" and ");
}
