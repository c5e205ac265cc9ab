// The state of the agent as a statement about now: which of the reasons (state-reasons.ts) there are. Judged here and
// nowhere else. Pure; how long a change is held back before it is reported is state-follower.ts.

import type { WayReport } from "../../doctor/way-report.ts";
import type { ProbeSummary } from "../../probe/probe-summary.ts";
import { type AgentState, type ReasonDefinition, type ReasonName, reasonDefinitions } from "./state-reasons.ts";

export interface StateReason {
  readonly name: ReasonName;
  readonly state: ReasonDefinition["state"];
  /** A clause for a person. */
  readonly message: string;
}

/** Whose object could not be programmed: see failure-scope.ts. */
export type FailureScope = "own" | "peer" | "precaution" | "leftover";

export interface ScopedFailure {
  readonly object: string;
  readonly error: string;
  readonly attempts: number;
  readonly scope: FailureScope;
  /** A setting under /proc/sys: a finding, since nothing is broken without it. */
  readonly isSetting?: boolean;
}

/** What the state is judged by. */
export interface StateFacts {
  readonly hasLease: boolean;
  /** What stands in the way of the first lease. */
  readonly leaseObstacle?: string;
  /** Why the lease cannot be relied on. */
  readonly leaseProblem?: string;
  /** The problem is that it was deleted and is being taken again. */
  readonly isLeaseRetaken: boolean;
  /** Why the store did not take our last write. */
  readonly leaseWriteProblem?: string;
  /** Why the store cannot be followed at present. */
  readonly storeOutage?: string;
  /** Why the store cannot be followed, when waiting does not cure it. */
  readonly storeRefusal?: string;
  /** Running on remembered state, not yet verified. */
  readonly isWarmStart: boolean;
  /** Ms since the store's last answer; undefined when it never answered. */
  readonly storeAgeMs?: number;
  readonly externalInterfaceProblem?: string;
  /** Why this host does not serve the network's IPv6, while it serves IPv4. */
  readonly ipv6Problem?: string;
  /** Evidence for each family that is not forwarded. */
  readonly forwardingOff: readonly string[];
  /** Why our own data plane carries no packets, or not all. */
  readonly dataPlaneProblem?: string;
  readonly isSubnetFileWritten: boolean;
  /** Whether a pass over the kernel with all peers as known now has been made; `wereOnce`: at any time since the start. */
  readonly peersProgrammed: { readonly areNow: boolean; readonly wereOnce: boolean };
  readonly hostFailures: readonly ScopedFailure[];
  readonly ruleFailures: readonly ScopedFailure[];
  readonly plannedPeers: number;
  readonly programmedPeers: number;
  readonly skippedPeers: number;
  /** What the kernel would do with packets from and to peers; missing: not asked. */
  readonly ways?: WayReport;
  /** What probes found; missing where nothing is probed. */
  readonly probes?: ProbeSummary;
  readonly unreadableKeys: number;
  /** Evidence for each chain of others that drops forwarded packets, unless one of its rules accepts ours. */
  readonly forwardDrops: readonly string[];
  /** The same where nothing accepts them, for all packets and for those of single containers; missing: none. */
  readonly packetDrops?: readonly string[];
  readonly containerDrops?: readonly string[];
}

/** A store that is away for longer leaves us behind without a sign: peers come and go more slowly than this. */
export const STORE_SEEN_BOUND_MS = 5 * 60_000;

/** The worst that the reasons say. */
export function stateOf(reasons: readonly StateReason[]): AgentState {
  if (reasons.some(({ state }) => state === "notReady")) return "notReady";
  return reasons.length > 0 ? "degraded" : "ready";
}

export function reason(name: ReasonName, message: string): StateReason {
  return { name, state: reasonDefinitions[name].state, message };
}

/** Worst first; empty when ready. */
export function stateReasons(facts: StateFacts): StateReason[] {
  const reasons = [
    ...leaseReasons(facts),
    ...wayReasons(facts),
    ...objectReasons(facts),
    ...peerReasons(facts),
    ...lookUpReasons(facts),
    ...probeReasons(facts),
    ...storeReasons(facts),
  ];
  return worstFirst(reasons);
}

export function worstFirst(reasons: readonly StateReason[]): StateReason[] {
  return reasons.toSorted((a, b) => Number(b.state === "notReady") - Number(a.state === "notReady"));
}

function leaseReasons(facts: StateFacts): StateReason[] {
  const { hasLease, leaseObstacle, leaseProblem, isLeaseRetaken, isSubnetFileWritten, isWarmStart } = facts;
  if (!hasLease)
    return [reason("no-lease", leaseObstacle === undefined ? "no lease yet" : `no lease yet: ${leaseObstacle}`)];
  return [
    ...(leaseProblem === undefined ? [] : [reason(isLeaseRetaken ? "lease-retaken" : "lease-invalid", leaseProblem)]),
    ...(isWarmStart ? [reason("lease-unconfirmed", "using remembered state: the store has not answered yet")] : []),
    ...(isSubnetFileWritten ? [] : [reason("subnet-file-missing", "the subnet file is not written yet")]),
  ];
}

function wayReasons({
  externalInterfaceProblem,
  ipv6Problem,
  forwardingOff,
  dataPlaneProblem,
  forwardDrops,
  packetDrops = [],
  containerDrops = [],
}: StateFacts): StateReason[] {
  return [
    ...(externalInterfaceProblem === undefined ? [] : [reason("interface-unusable", externalInterfaceProblem)]),
    ...(ipv6Problem === undefined ? [] : [reason("family-missing", `IPv4 alone is served: ${ipv6Problem}`)]),
    ...forwardingOff.map((evidence) => reason("forwarding-off", evidence)),
    ...(dataPlaneProblem === undefined
      ? []
      : [reason("data-plane-failed", `packets are not carried: ${dataPlaneProblem}`)]),
    ...packetDrops.map((evidence) => reason("packets-dropped", evidence)),
    ...forwardDrops.map((evidence) => reason("forward-policy", evidence)),
    ...containerDrops.map((evidence) => reason("container-drop", evidence)),
  ];
}

function objectReasons({ hostFailures, ruleFailures }: StateFacts): StateReason[] {
  const all = [...hostFailures, ...ruleFailures];
  const of = (failures: readonly ScopedFailure[], scope: FailureScope) =>
    failures.filter((failure) => failure.scope === scope);
  const precautions = of(all, "precaution").filter(({ isSetting }) => isSetting !== true);
  return [
    ...failed("own-object-failed", "the host's own kernel objects could not be programmed", of(hostFailures, "own")),
    ...failed("rules-missing", "traffic rules could not be written", of(ruleFailures, "own")),
    ...failed("precaution-failed", "a precaution could not be set", precautions),
    ...failed("leftover", "leftovers of an earlier configuration could not be removed", of(all, "leftover")),
  ];
}

function peerReasons(facts: StateFacts): StateReason[] {
  const { hasLease, peersProgrammed, hostFailures, plannedPeers, programmedPeers, skippedPeers } = facts;
  const failures = hostFailures.filter(({ scope }) => scope === "peer");
  const isNoneReached = failures.length > 0 && plannedPeers > 1 && programmedPeers === 0;
  const pending = peersProgrammed.wereOnce ? "peers-pending" : "peers-unknown";
  return [
    ...(hasLease && !peersProgrammed.areNow ? [reason(pending, "the peers are not programmed yet")] : []),
    ...(isNoneReached
      ? failed("no-peer-reached", `none of ${plannedPeers} peers could be programmed`, failures)
      : failed("peer-failed", peersFailed(facts), failures)),
    ...(skippedPeers === 0
      ? []
      : [reason("peer-skipped", counted(skippedPeers, "peer cannot be used", "peers cannot be used"))]),
  ];
}

function peersFailed({ plannedPeers, programmedPeers }: StateFacts): string {
  const unreachable = plannedPeers - programmedPeers;
  if (unreachable <= 0) return "kernel objects of peers could not be programmed";
  return `${unreachable} of ${counted(plannedPeers, "peer", "peers")} unreachable`;
}

/** What stands in the way of all packets of this host explains the rest. */
function lookUpReasons({ ways, forwardingOff }: StateFacts): StateReason[] {
  if (ways === undefined || forwardingOff.length > 0) return [];
  if (ways.unreachable === 0 && ways.partly === 0) return [];
  const { checked, unreachable, partly, unreachableHosts, findings } = ways;
  const evidence = findings.map((finding) => finding.evidence).join("; ");
  if (unreachable === 0) {
    return [
      reason("peer-unreachable", `${partly} of ${counted(checked, "peer", "peers")} partly unreachable: ${evidence}`),
    ];
  }
  // A single peer that is off the network is more likely the cause itself.
  const isOurs = unreachableHosts < unreachable || checked > 1;
  const message = `${unreachable} of ${counted(checked, "peer", "peers")} unreachable: ${evidence}`;
  return [reason(unreachable === checked && isOurs ? "all-peers-unreachable" : "peer-unreachable", message)];
}

function probeReasons({ probes }: StateFacts): StateReason[] {
  if (probes === undefined) return [];
  const { known, unreachable, isAll, evidence, mtuEvidence, states } = probes;
  const message = `${unreachable} of ${counted(known, "peer", "peers")} unreachable by probes: ${evidence}`;
  return [
    ...(unreachable === 0 ? [] : [reason(isAll ? "all-peers-down" : "peer-down", message)]),
    ...(mtuEvidence === undefined
      ? []
      : [reason("peer-mtu", `${counted(states.mtuBroken, "peer", "peers")} without large packets: ${mtuEvidence}`)]),
  ];
}

function storeReasons(facts: StateFacts): StateReason[] {
  const { unreadableKeys, isWarmStart, storeAgeMs = 0, storeOutage, leaseWriteProblem, storeRefusal } = facts;
  const isSilent = !isWarmStart && storeAgeMs > STORE_SEEN_BOUND_MS;
  return [
    ...(unreadableKeys === 0
      ? []
      : [
          reason(
            "lease-unreadable",
            counted(unreadableKeys, "key in the store is not a lease", "keys in the store are not leases"),
          ),
        ]),
    ...(leaseWriteProblem === undefined
      ? []
      : [reason("lease-not-written", `the store did not take this host's lease: ${leaseWriteProblem}`)]),
    ...(storeRefusal === undefined ? [] : [reason("store-refuses", `the store cannot be followed: ${storeRefusal}`)]),
    ...(isSilent ? [reason("store-silent", silence(storeAgeMs, storeOutage))] : []),
  ];
}

function silence(ageMs: number, why: string | undefined): string {
  const silent = `the store has not answered for ${Math.round(ageMs / 1_000)} s`;
  return why === undefined ? silent : `${silent}: ${why}`;
}

/** The first one in its own words stands for all. */
function failed(name: ReasonName, what: string, failures: readonly ScopedFailure[]): StateReason[] {
  const [first, ...others] = failures;
  if (first === undefined) return [];
  const more = others.length === 0 ? "" : ` and ${others.length} more`;
  return [reason(name, `${what}: ${first.object}: ${first.error}${more}`)];
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** One network of several. */
interface NetworkState {
  readonly name: string;
  /** As reported: a blip does not change it. */
  readonly state: AgentState;
  /** Of this moment. */
  readonly reasons: readonly StateReason[];
}

/**
 * Of an agent with several networks, out of theirs. Not ready only when no network is: a load balancer or a kubelet must not stop what
 * works for what does not. By what is reported of each: else a blip of all that work, beside one that has no lease, would make the agent not
 * ready at once.
 */
export function combinedReasons(networks: readonly NetworkState[]): StateReason[] {
  const isAnyAvailable = networks.some(({ state }) => state !== "notReady");
  return worstFirst(networks.flatMap((network) => reasonsOf(network, isAnyAvailable)));
}

function reasonsOf({ name, reasons }: NetworkState, isAnyAvailable: boolean): StateReason[] {
  const named = reasons.map((one) => ({ ...one, message: `network ${name}: ${one.message}` }));
  const against = reasons.filter(({ state }) => state === "notReady");
  if (!isAnyAvailable || against.length === 0) return named;
  const why = against.map(({ message }) => message).join("; ");
  return [
    reason("network-not-ready", `network ${name} is not ready: ${why}`),
    ...named.filter(({ state }) => state === "degraded"),
  ];
}
