// A lease of ours in a store that reads, but does not write (no space, no permission, no quorum): as long as it lives it is
// as good as one that we have just written.
import { describeError, isCancelled } from "../../errors.ts";
import type { LeaseRecord } from "../../etcd-api/lease-record.ts";
import type { OwnLease } from "../../lease/lease.ts";
import { mayLackLeader } from "./etcd-errors.ts";
import type { LeaseDirectory } from "./lease-directory.ts";
import { keepStoreLeaseAlive } from "./operations.ts";

/** For which a lease is relied on that no leader could confirm: without one no lease ends either. */
const UNCONFIRMED_MS = 3_600_000;

/** Undefined when it may not live: `failure` of writing it then stands. */
export async function keepAsWritten(
  { connection }: LeaseDirectory,
  { lease, storeLeaseId }: LeaseRecord,
  failure: unknown,
  signal: AbortSignal,
): Promise<OwnLease | undefined> {
  if (lease === undefined || isCancelled(failure)) return undefined;
  const notWritten = describeError(failure);
  if (storeLeaseId === 0n) return { ...lease, notWritten };
  try {
    const kept = await keepStoreLeaseAlive(connection, storeLeaseId, signal);
    return kept && { ...lease, expiresAtMs: kept.expiresAtMs, notWritten };
  } catch (error) {
    if (isCancelled(error) || !mayLackLeader(error)) return undefined;
    return { ...lease, expiresAtMs: Date.now() + UNCONFIRMED_MS, notWritten };
  }
}
