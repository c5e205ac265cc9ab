// What is wrong with the leases of this network, as this agent sees them now.
import type { Finding } from "../../doctor/finding.ts";
import { addressConflictFindings, takenByUpstreamFindings } from "./address-conflicts.ts";
import type { Agent } from "./agent.ts";
import { claimFindings, ownSubnetFindings } from "./claim-findings.ts";
import { currentAddressConflicts } from "./state-facts.ts";

export function leaseFindings({ ownLease, network, config, table, earlierSubnets }: Agent): Finding[] {
  return [
    ...addressConflictFindings(currentAddressConflicts(ownLease, table)),
    ...ownSubnetFindings(ownLease, network?.facts.occupied ?? [], table.peers()),
    ...claimFindings(network?.plan.skipped ?? []),
    ...takenByUpstreamFindings({ hasIpv4: config?.ipv4 !== undefined, earlier: earlierSubnets }, table.peers()),
  ];
}
