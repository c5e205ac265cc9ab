// What speaks against `ready` because other leases claim what is this host's. Pure.
import { reason, type StateReason } from "./agent-state.ts";
import type { ReasonName } from "./state-reasons.ts";

export interface ClaimFacts {
  /** What other leases claim of this host's subnet, a clause each. */
  readonly subnetClaims: readonly string[];
  /** Evidence for each other lease that announces this host's address. */
  readonly addressConflicts: readonly string[];
}

export function claimReasons({ subnetClaims, addressConflicts }: ClaimFacts): StateReason[] {
  return [
    ...firstOf("subnet-claimed", "another lease claims this host's subnet: ", subnetClaims),
    ...firstOf("public-ip-shared", "", addressConflicts),
  ];
}

function firstOf(name: ReasonName, what: string, clauses: readonly string[]): StateReason[] {
  const [first, ...others] = clauses;
  if (first === undefined) return [];
  const more = others.length === 0 ? "" : ` and ${others.length} other ${others.length === 1 ? "lease" : "leases"}`;
  return [reason(name, `${what}${first}${more}`)];
}
