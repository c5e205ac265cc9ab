// Blackhole routes for our own subnets: packets for containers that do not exist are not sent back where they came from.
import type { BackendPlan } from "../../backend/backend.ts";
import type { LeasedSubnets } from "../../lease/lease.ts";

export function withBlackholes(plan: BackendPlan, own: LeasedSubnets): BackendPlan {
  const subnets = [own.subnet, own.ipv6Subnet].filter((subnet) => subnet !== undefined);
  return { ...plan, state: { ...plan.state, blackhole: subnets.map((destination) => ({ destination })) } };
}
