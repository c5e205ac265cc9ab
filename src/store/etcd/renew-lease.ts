// Keeping our own lease: its life is extended and its value replaced only while the key is still as we wrote it.
import { FlannelError } from "../../errors.ts";
import type { KeyValue } from "../../etcd-api/etcd.ts";
import { revisionNumber, storeLeaseIdOf } from "../../etcd-api/etcd-lease.ts";
import { readLeaseRecord } from "../../etcd-api/lease-record.ts";
import type { Lease, LeaseAttributes, OwnLease } from "../../lease/lease.ts";
import { describeOwner, hasSamePublicIp } from "../../lease/lease-owner.ts";
import { formatLeaseValue } from "../../lease/lease-value.ts";
import { describeSubnets, type LeaseDirectory, writeLease } from "./lease-directory.ts";
import { checkRevision, keepStoreLeaseAlive } from "./operations.ts";

export interface WantedLease {
  readonly attributes: LeaseAttributes;
  /** Write even what stands there already: to see whether the store takes it. */
  readonly mustWrite: boolean;
}

/**
 * Resolves with the lease as it now stands. An operator may have made it a reservation or taken that back: same value,
 * other life; that is followed. Rejects with `LEASE_CONFLICT` when another writer wrote the key, `LEASE_LOST` when it is
 * gone.
 */
export async function renewLease(
  directory: LeaseDirectory,
  lease: OwnLease,
  wanted: WantedLease,
  signal: AbortSignal,
): Promise<OwnLease> {
  const { attributes, mustWrite } = wanted;
  const key = directory.keys.directory + lease.key;
  const check = {
    key,
    expectedRevision: revisionNumber(lease.revision),
    operation: `check this host's lease ${lease.key}`,
  };
  const state = await checkRevision(directory.connection, check, signal);
  const known = state.isDone ? lease : followWrite(directory, lease, attributes, state.current);
  const isUnchanged = formatLeaseValue(attributes) === formatLeaseValue(known.attributes);
  if (isUnchanged && !mustWrite) {
    if (known.isReservation) return known;
    const storeLease = await keepStoreLeaseAlive(directory.connection, storeLeaseIdOf(known), signal);
    if (storeLease !== undefined) return { ...known, expiresAtMs: storeLease.expiresAtMs };
  }
  const { key: name, revision, createdAt, isReservation } = known;
  const [expectedRevision, createRevision] = [revisionNumber(revision), revisionNumber(createdAt)];
  const write = { key: name, subnets: lease, attributes, expectedRevision, createRevision, isReservation };
  const written = await writeLease(directory, write, signal);
  if (written !== undefined) return written;
  // Written between our two steps: look again, which tells who did it.
  return await renewLease(directory, known, wanted, signal);
}

/**
 * The lease after a write we do not know of, when it was not another host's: an operator changed whether it expires, or it
 * was our own and the answer got lost.
 */
function followWrite(
  { keys, unsettledLeases }: LeaseDirectory,
  lease: OwnLease,
  attributes: LeaseAttributes,
  current: KeyValue | undefined,
): OwnLease {
  const shown = `${lease.key} (${describeSubnets(lease)})`;
  if (current === undefined) {
    throw new FlannelError(
      "LEASE_LOST",
      `lease ${shown} of ${describeOwner(lease.attributes)} is gone from the store`,
      {
        details: { key: lease.key },
      },
    );
  }
  const { lease: found, storeLeaseId } = readLeaseRecord(current, keys.directory);
  const isExpected = storeLeaseId === 0n || lease.isReservation || unsettledLeases.has(storeLeaseId);
  const ourValues = [formatLeaseValue(lease.attributes), formatLeaseValue(attributes)];
  if (found === undefined || !isExpected || !ourValues.includes(formatLeaseValue(found.attributes))) {
    throw conflict(shown, lease, found);
  }
  unsettledLeases.clear();
  return found;
}

function conflict(shown: string, ours: OwnLease, theirs: Lease | undefined): FlannelError {
  const other = theirs === undefined ? "a program that wrote an unreadable value" : describeOwner(theirs.attributes);
  const message = `lease ${shown} of ${describeOwner(ours.attributes)} was overwritten by ${other}`;
  return new FlannelError("LEASE_CONFLICT", message, {
    details: {
      key: ours.key,
      ourPublicIp: ours.attributes.publicIp ?? ours.attributes.publicIpv6,
      theirPublicIp: theirs?.attributes.publicIp ?? theirs?.attributes.publicIpv6,
      sharesPublicIp: theirs !== undefined && hasSamePublicIp(theirs.attributes, ours.attributes),
    },
  });
}
