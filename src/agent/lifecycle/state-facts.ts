// Gathers from the agent's parts what its state is judged by.

import type { Finding } from "../../doctor/finding.ts";
import type { Lease, OwnLease } from "../../lease/lease.ts";
import type { LeaseTable } from "../../lease/lease-table.ts";
import { type AddressConflict, addressConflicts } from "./address-conflicts.ts";
import { type StateFacts, type StateReason, stateReasons, worstFirst } from "./agent-state.ts";
import { claimsOnOwnSubnet } from "./claim-findings.ts";
import { claimReasons } from "./claim-reasons.ts";
import type { DropWatch } from "./drop-watch.ts";
import type { LeaseRenewer } from "./lease-renewer.ts";
import type { Network } from "./network.ts";
import type { StoreView } from "./store-view.ts";

export interface StateSources {
  readonly own: OwnLease | undefined;
  readonly renewer: LeaseRenewer | undefined;
  readonly network: Network | undefined;
  readonly table: LeaseTable;
  readonly storeView: StoreView;
  readonly dropWatch: DropWatch;
  readonly interfaceProblem: string | undefined;
  readonly ipv6Problem: string | undefined;
  /** Why what we announce does not stand in the store. */
  readonly recordProblem: string | undefined;
  readonly isSubnetFileWritten: boolean;
  readonly arePeersProgrammed: boolean;
  readonly isWarmStart: boolean;
}

/** Every reason against `ready`, as of now. */
export function currentReasons(sources: StateSources): StateReason[] {
  const { own, network, table, dropWatch } = sources;
  const reasons = stateReasons({
    ...leaseFacts(sources),
    ...storeFacts(sources.storeView),
    ...networkFacts(network, sources.arePeersProgrammed),
    ...dropsOf(dropWatch.findings),
    isWarmStart: sources.isWarmStart,
    isSubnetFileWritten: sources.isSubnetFileWritten,
    unreadableKeys: table.unreadable().length,
    ...(sources.ipv6Problem !== undefined && { ipv6Problem: sources.ipv6Problem }),
    ...(sources.interfaceProblem !== undefined && { externalInterfaceProblem: sources.interfaceProblem }),
  });
  const claims = claimReasons({
    subnetClaims: claimsOnOwnSubnet(network?.plan.skipped ?? []),
    addressConflicts: currentAddressConflicts(own, table).map(({ evidence }) => evidence),
  });
  return worstFirst([...claims, ...reasons]);
}

function leaseFacts({ own, renewer, recordProblem }: StateSources) {
  const leaseProblem = renewer?.problem() ?? recordProblem;
  return {
    hasLease: own !== undefined,
    isLeaseRetaken: renewer?.isBeingRetaken === true,
    ...(leaseProblem !== undefined && { leaseProblem }),
    ...(renewer?.writeProblem !== undefined && { leaseWriteProblem: renewer.writeProblem }),
  };
}

function storeFacts({ ageMs, obstacle, outage, refusal }: StoreView) {
  return {
    ...(ageMs !== undefined && { storeAgeMs: ageMs }),
    ...(outage !== undefined && { storeOutage: outage }),
    ...(refusal !== undefined && { storeRefusal: refusal }),
    ...(obstacle !== undefined && { leaseObstacle: obstacle }),
  };
}

function networkFacts(network: Network | undefined, arePeersProgrammed: boolean) {
  if (network === undefined) return { ...noNetwork, peersProgrammed: { areNow: arePeersProgrammed, wereOnce: false } };
  const { checks, dataPlaneProblem, hostFailures, plan } = network;
  return {
    peersProgrammed: { areNow: arePeersProgrammed, wereOnce: network.werePeersProgrammed },
    forwardingOff: evidenceOf(checks.forwardingOff()),
    ways: checks.ways,
    ...(checks.probes !== undefined && { probes: checks.probes.summary }),
    hostFailures,
    ruleFailures: network.firewall.status().failures,
    plannedPeers: plan.plannedPeers,
    // All routes are looked through, and it matters only where something failed.
    programmedPeers: hostFailures.length === 0 ? 0 : network.programmedPeers,
    skippedPeers: plan.skipped.length,
    ...(dataPlaneProblem !== undefined && { dataPlaneProblem }),
  };
}

const noNetwork = {
  ...{ forwardingOff: [], hostFailures: [], ruleFailures: [] },
  ...{ plannedPeers: 0, programmedPeers: 0, skippedPeers: 0 },
};

/** None while the table lags behind our own lease: it may still hold the one that we gave up for it. */
export function currentAddressConflicts(own: OwnLease | undefined, table: LeaseTable): readonly AddressConflict[] {
  const isBehind = own !== undefined && (table.revision === undefined || own.revision.isAfter(table.revision));
  if (own === undefined || isBehind) return [];
  const peers = table.peers();
  const known = lastConflicts.get(peers);
  if (known?.own === own) return known.conflicts;
  const conflicts = addressConflicts(own, peers);
  lastConflicts.set(peers, { own, conflicts });
  return conflicts;
}

/** By the array of peers, which is the same until one changes: thousands of them are not gone through every two seconds. */
const lastConflicts = new WeakMap<readonly Lease[], { own: OwnLease; conflicts: readonly AddressConflict[] }>();

function dropsOf(findings: readonly Finding[]): Pick<StateFacts, "forwardDrops" | "packetDrops" | "containerDrops"> {
  const isForward = ({ name, isPartial }: Finding) => name === "forward-drop" && isPartial !== true;
  return {
    forwardDrops: evidenceOf(findings.filter(isForward)),
    packetDrops: evidenceOf(findings.filter((finding) => finding.isPartial !== true && !isForward(finding))),
    containerDrops: evidenceOf(findings.filter(({ isPartial }) => isPartial === true)),
  };
}

function evidenceOf(findings: readonly { readonly evidence: string }[] = []): string[] {
  return findings.map(({ evidence }) => evidence);
}
