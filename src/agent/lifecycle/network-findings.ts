// What the agent finds wrong with one of its networks without a look at the host: leases, traffic rules, settings.
import type { Finding } from "../../doctor/finding.ts";
import type { FirewallStatus } from "../../firewall/firewall-status.ts";
import { addressConflictFindings, takenByUpstreamFindings } from "./address-conflicts.ts";
import type { Agent } from "./agent.ts";
import type { ScopedFailure } from "./agent-state.ts";
import { claimFindings, ownSubnetFindings } from "./claim-findings.ts";
import type { Network } from "./network.ts";
import { currentAddressConflicts } from "./state-facts.ts";

/** What is wrong with the leases of this network, as this agent sees them now. */
export function leaseFindings({ ownLease, network, config, table, earlierSubnets }: Agent): Finding[] {
  return [
    ...addressConflictFindings(currentAddressConflicts(ownLease, table)),
    ...ownSubnetFindings(ownLease, network?.facts.occupied ?? [], table.peers()),
    ...claimFindings(network?.plan.skipped ?? []),
    ...takenByUpstreamFindings({ hasIpv4: config?.ipv4 !== undefined, earlier: earlierSubnets }, table.peers()),
  ];
}

/** What is wrong with what the network has in the kernel, as last written. */
export function networkFindings(network: Network): Finding[] {
  return [
    ...ruleFindings(network.firewall.status()),
    ...settingFindings(network.hostFailures),
    ...network.planFacts.findings,
    ...network.pathMtuFindings,
  ];
}

/** What holds up the writing of traffic rules. Known without reading the rules, which would wait for the same. */
function ruleFindings({ waitsFor }: Pick<FirewallStatus, "waitsFor">): Finding[] {
  if (waitsFor === undefined) return [];
  return [
    {
      name: "xtables-lock",
      severity: "warning",
      evidence: waitsFor,
      remedy: "wait for that program, or end it if it hangs; flannel writes its rules when the lock is free",
    },
  ];
}

/** What of our devices' settings could not be written, usually since /proc/sys is read-only in a container. */
function settingFindings(failures: readonly ScopedFailure[]): Finding[] {
  return failures
    .filter(({ isSetting }) => isSetting === true)
    .map(({ object, error }) => ({
      name: /\b(EROFS|EACCES|EPERM)\b|read-only|not permitted|permission denied/i.test(error)
        ? "privilege-denied"
        : "device-sysctl-off",
      severity: "warning",
      evidence: `${object} could not be set (${error})`,
      remedy: `sysctl -w ${object.replaceAll(" ", "")} # on the host, or make /proc/sys writable for flanneld`,
    }));
}
