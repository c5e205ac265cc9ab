// What the looks at the ways of all peers amount to: how many are cut off, and findings with one entry for each cause. Pure.
import type { Prefix } from "../ip/address.ts";
import type { Finding } from "./finding.ts";
import { isOutside, type PlannedWay, type WayFault } from "./peer-ways.ts";

export interface PeerFaults {
  readonly faults: readonly WayFault[];
  /** Nothing of the peer is reached; else only some addresses of its subnet are not. */
  readonly isWhole: boolean;
}

/** Numbers are of peers whose routes are programmed; the others are known to be cut off without asking. */
export interface WayReport {
  readonly checked: number;
  /** Of these: not reached at all in some family, and not reached in part. */
  readonly unreachable: number;
  readonly partly: number;
  /** Of the unreachable ones: those whose own host is the reason, to which there is no way. */
  readonly unreachableHosts: number;
  /** Worst first, one for each cause. */
  readonly findings: readonly Finding[];
}

const MAX_FINDINGS = 8;

type Causes = Map<string, { readonly fault: WayFault; readonly subnets: Prefix[] }>;

/** Several faults of one subnet with the same cause count once. */
function addCause(causes: Causes, fault: WayFault, subnet: Prefix): void {
  const known = causes.get(fault.cause);
  if (known === undefined) causes.set(fault.cause, { fault, subnets: [subnet] });
  else if (known.subnets.at(-1) !== subnet) known.subnets.push(subnet);
}

/** `fresh`: not looked at yet. */
export function summarizeWays(
  ways: ReadonlyMap<Prefix, PlannedWay>,
  fresh: ReadonlySet<Prefix>,
  faults: ReadonlyMap<Prefix, PeerFaults>,
): WayReport {
  const [unreachable, partly, hosts] = [new Set<string>(), new Set<string>(), new Set<string>()];
  const causes: Causes = new Map();
  for (const [subnet, { faults: ofPeer, isWhole }] of faults) {
    const way = ways.get(subnet);
    if (way === undefined) continue;
    if (way.isInPlace) (isWhole ? unreachable : partly).add(way.peer);
    if (way.isInPlace && ofPeer.every(isOutside)) hosts.add(way.peer);
    for (const fault of ofPeer) addCause(causes, fault, subnet);
  }
  const worstFirst = [...causes.values()].sort((a, b) => b.subnets.length - a.subnets.length);
  let checked: number | undefined;
  return {
    // All of thousands of peers are counted only when asked for.
    get checked() {
      checked ??= checkedPeers(ways, fresh);
      return checked;
    },
    unreachable: unreachable.size,
    partly: [...partly].filter((peer) => !unreachable.has(peer)).length,
    unreachableHosts: hosts.size,
    findings: worstFirst.slice(0, MAX_FINDINGS).map(({ fault, subnets }) => findingOf(fault, subnets, faults)),
  };
}

function checkedPeers(ways: ReadonlyMap<Prefix, PlannedWay>, fresh: ReadonlySet<Prefix>): number {
  const checked = new Set<string>();
  for (const { peer, subnet, isInPlace } of ways.values()) if (isInPlace && !fresh.has(subnet)) checked.add(peer);
  return checked.size;
}

function findingOf(fault: WayFault, subnets: readonly Prefix[], faults: ReadonlyMap<Prefix, PeerFaults>): Finding {
  const [first] = subnets;
  const others = subnets.length - 1;
  const isPart = first !== undefined && others === 0 && faults.get(first)?.isWhole === false;
  const more = others === 0 ? "" : ` and ${others} other ${others === 1 ? "subnet" : "subnets"}`;
  const whom = isPart ? `${fault.address} of ${first}` : `${first}${more}`;
  const { name, remedy, fix } = fault;
  return { name, severity: "error", evidence: fault.evidence(whom), remedy, ...(fix !== undefined && { fix }) };
}
