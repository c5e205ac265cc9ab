// Readiness as a live statement: every reason why pods on this host might not be able to talk right now. Pure.

export interface ReadinessView {
  readonly hasLease: boolean;
  /** What stands in the way of the first lease. */
  readonly leaseObstacle?: string;
  /** Why the lease cannot be relied on. */
  readonly leaseProblem?: string;
  readonly isSubnetFileWritten: boolean;
  /** Whether a pass over the kernel with all known peers has been made. */
  readonly arePeersProgrammed: boolean;
  readonly failedObjects: number;
  /** Ms since the store's last answer; undefined when it never answered. */
  readonly storeAgeMs?: number;
  /** Running on remembered state, not yet verified. */
  readonly isWarmStart: boolean;
  readonly externalInterfaceProblem?: string;
  /** Why our own data plane carries no packets, or not all. */
  readonly dataPlaneProblem?: string;
}

/** Peers come and go slower than this; a store that is away longer leaves us behind without a sign. */
export const STORE_SEEN_BOUND_MS = 5 * 60_000;

/** Empty when ready. Each reason is a clause for a person. */
export function readinessReasons(view: ReadinessView): string[] {
  const reasons: string[] = [];
  if (!view.hasLease)
    reasons.push(view.leaseObstacle === undefined ? "no lease yet" : `no lease yet: ${view.leaseObstacle}`);
  if (view.leaseProblem !== undefined) reasons.push(view.leaseProblem);
  if (view.externalInterfaceProblem !== undefined) reasons.push(view.externalInterfaceProblem);
  if (view.dataPlaneProblem !== undefined) reasons.push(`packets are not carried: ${view.dataPlaneProblem}`);
  if (view.hasLease && !view.isSubnetFileWritten) reasons.push("the subnet file is not written yet");
  if (view.hasLease && !view.arePeersProgrammed) reasons.push("the peers are not programmed yet");
  const { failedObjects } = view;
  if (failedObjects > 0)
    reasons.push(`${failedObjects} kernel object${failedObjects > 1 ? "s" : ""} could not be programmed`);
  if (view.isWarmStart) reasons.push("running on remembered state: the store has not answered yet");
  else if (view.storeAgeMs !== undefined && view.storeAgeMs > STORE_SEEN_BOUND_MS) {
    reasons.push(`the store has not answered for ${Math.round(view.storeAgeMs / 1_000)} s`);
  }
  return reasons;
}
