// What leads to one host only (a MAC, a key) but is announced by the leases of several. Pure.
import type { Lease } from "../lease/lease.ts";
import type { PeerReach, SkippedLease } from "./peer-reach.ts";

/**
 * Of leases that lead one such thing to different hosts, the host of the one written last gets it: it is one machine that
 * has another address now, and its old lease is not renewed any more. `name` is what the lease calls it.
 */
export function settleHolders<Reach extends PeerReach>(
  reaches: readonly Reach[],
  thingOf: (reach: Reach) => string,
  name: string,
  skipped: SkippedLease[],
): readonly Reach[] {
  const holders = new Map<string, Reach>();
  let isContested = false;
  for (const reach of reaches) {
    const holder = holders.get(thingOf(reach));
    if (holder === undefined || isLaterWritten(reach.lease, holder.lease)) holders.set(thingOf(reach), reach);
    if (holder !== undefined) isContested = true;
  }
  if (!isContested) return reaches;
  return reaches.filter((reach) => {
    const holder = holders.get(thingOf(reach));
    if (holder === undefined || holder.publicIp === reach.publicIp) return true;
    skipped.push({ key: reach.lease.key, reason: `${holder.lease.key} has the same ${name} ${thingOf(reach)}` });
    return false;
  });
}

function isLaterWritten(a: Lease, b: Lease): boolean {
  if (a.revision.isAfter(b.revision)) return true;
  return !b.revision.isAfter(a.revision) && a.key < b.key;
}
