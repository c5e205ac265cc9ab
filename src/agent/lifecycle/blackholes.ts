// Blackhole routes for our own subnets: packets for containers that do not exist are not sent back where they came from.
import type { BackendPlan } from "../../backend/backend.ts";
import { overlaps } from "../../ip/prefix.ts";
import { type LeasedSubnets, prefixesOf } from "../../lease/lease.ts";
import type { OccupiedPrefix } from "../../underlay/occupied-prefixes.ts";

/** None over an address that this host reaches elsewhere: the default route to the store is wider, so that it would lose. */
export function withBlackholes(
  plan: BackendPlan,
  own: LeasedSubnets,
  occupied: readonly OccupiedPrefix[],
): BackendPlan {
  const blackhole = prefixesOf(own)
    .filter((subnet) => !occupied.some(({ prefix }) => overlaps(prefix, subnet)))
    .map((destination) => ({ destination }));
  return { ...plan, state: { ...plan.state, blackhole: [...(plan.state.blackhole ?? []), ...blackhole] } };
}
