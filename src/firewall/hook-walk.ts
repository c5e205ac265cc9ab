// Goes with a packet through the chains of one hook and says what becomes of it. Judges only what it knows: a rule of which nobody
// can say whether it matches never drops, and makes uncertain what comes after it if it may accept.
import type { HookChain, RuleSource, ScanRule } from "./hook-chain.ts";
import type { PacketView } from "./packet-view.ts";
import type { Limit } from "./registers.ts";
import type { RuleMachine, RuleOutcome, RuleResult } from "./rule-machine.ts";

/** What drops packets in a base chain, or gives them another destination. */
export interface ChainDrop {
  readonly isRewrite: boolean;
  /** Missing: the policy. */
  readonly rule?: ScanRule;
  /** In which chain of the table it stands. */
  readonly inChain: string;
  /** Of the packets that the tried one stands for: above 0, up to 1. */
  readonly share: number;
  /** False when something before it that cannot be judged may let them pass. */
  readonly isCertain: boolean;
}

export interface ChainOutcome {
  readonly drops: readonly ChainDrop[];
  /** Also something of which nobody can say whether it does: a set of ipset, a mark, a program that gets the packets. */
  readonly mayDropMore: boolean;
  /** Of those that go on; undefined: nobody knows. */
  readonly mark: number | undefined;
}

export interface WalkTools {
  readonly source: RuleSource;
  readonly machine: RuleMachine;
  /** Lets other work pass when it is time. */
  readonly pause: () => Promise<void>;
}

const MAX_DEPTH = 16;
/** Rules looked at for one packet in one base chain. */
const MAX_RULES = 50_000;
/** Most packets that the tried one stands for: what happens to them is reported of all. */
export const MOST = 0.5;
/**
 * Chains of programs that carry out network policies: what they drop of single containers is intended.
 */
const policyChains = /^(KUBE-NWPLCY|KUBE-POD-FW|KUBE-ROUTER|cali-|felix-|ANTREA|CILIUM|WEAVE-NPC)/i;

interface Walk {
  readonly base: HookChain;
  readonly tools: WalkTools;
  readonly drops: ChainDrop[];
  mayDropMore: boolean;
  rulesLeft: number;
}

/** The packet, or those of them that go on. */
interface Packets {
  readonly view: PacketView;
  mark: number | undefined;
  /** Share of those that nothing has ended yet. */
  rest: number;
  /** Which share of the tried ones these were when they began. */
  readonly scale: number;
  isUncertain: boolean;
}

/** `ended`: nothing, or nearly nothing, goes on. */
type End = "ended" | "returned" | "fell through";

/** Throws what the source throws. */
export async function walkChain(
  base: HookChain,
  view: PacketView,
  mark: number | undefined,
  tools: WalkTools,
): Promise<ChainOutcome> {
  const walk: Walk = { base, tools, drops: [], mayDropMore: false, rulesLeft: MAX_RULES };
  const packets: Packets = { view, mark, rest: 1, scale: 1, isUncertain: false };
  const end = await walkRules(walk, base.name, packets, 0);
  if (end !== "ended" && base.dropsByPolicy) tellDrop(walk, base.name, undefined, packets, 1, false);
  return { drops: walk.drops, mayDropMore: walk.mayDropMore, mark: packets.mark };
}

async function walkRules(walk: Walk, name: string, packets: Packets, depth: number): Promise<End> {
  const { source, machine, pause } = walk.tools;
  const chain = depth > MAX_DEPTH ? undefined : await source.load(walk.base, name);
  if (chain === undefined) return doubt(walk, packets);
  const setOf = (set: string) => chain.sets.get(set);
  for (const rule of chain.rules) {
    if (--walk.rulesLeft < 0) return doubt(walk, packets);
    await pause();
    const result: RuleResult = machine.run(rule.expressions, packets.view, packets.mark, setOf);
    packets.mark = result.mark;
    for (const outcome of result.outcomes) {
      const end = await applyOutcome(walk, name, rule, outcome, packets, depth);
      if (end !== "fell through") return end;
    }
  }
  return "fell through";
}

async function applyOutcome(
  walk: Walk,
  name: string,
  rule: ScanRule,
  outcome: RuleOutcome,
  packets: Packets,
  depth: number,
): Promise<End> {
  const { share, verdict } = outcome;
  switch (verdict.type) {
    case "continue":
      return "fell through";
    case "unknown":
      return doubt(walk, packets);
    case "drop":
    case "reject":
    case "rewrite":
      if (share === undefined) {
        // In doubt it is no drop.
        walk.mayDropMore = true;
        return "fell through";
      }
      tellDrop(walk, name, rule, packets, share, verdict.type === "rewrite");
      return endOf(packets, share);
    case "accept":
      if (share !== undefined) return endOf(packets, share);
      packets.isUncertain = true;
      return "fell through";
    case "return":
      if (share !== undefined) return share > MOST ? "returned" : "fell through";
      packets.isUncertain = true;
      return "fell through";
    case "jump":
    case "goto":
      return await applyJump(walk, verdict.chain, verdict.type === "goto", outcome, packets, depth);
  }
}

/** What nobody can judge may accept them, and may drop them. */
function doubt(walk: Walk, packets: Packets): End {
  packets.isUncertain = true;
  walk.mayDropMore = true;
  return "fell through";
}

function endOf(packets: Packets, share: number): End {
  packets.rest *= 1 - share;
  return share > MOST ? "ended" : "fell through";
}

async function applyJump(
  walk: Walk,
  target: string,
  isGoto: boolean,
  { share, limit }: RuleOutcome,
  packets: Packets,
  depth: number,
): Promise<End> {
  if (share !== undefined && share > MOST) {
    const end = await walkRules(walk, target, packets, depth + 1);
    return end === "ended" ? end : isGoto ? "returned" : "fell through";
  }
  const some = share === undefined ? undefined : narrowed(packets, share, limit);
  if (share === undefined || some === undefined) {
    // It may accept there, or mark them, and what drops there drops only perhaps.
    packets.mark = undefined;
    return doubt(walk, packets);
  }
  const end = await walkRules(walk, target, some, depth + 1);
  packets.rest *= 1 - share * (end === "ended" ? 1 : 1 - some.rest);
  return "fell through";
}

/** Only those that the rule means; undefined when they are not one range of addresses. */
function narrowed(packets: Packets, share: number, limit: Limit): Packets | undefined {
  if (limit === undefined || limit === "several") return undefined;
  const addresses = packets.view.packet[limit.side]?.within(limit.range);
  if (addresses === undefined || addresses.size === 0n) return undefined;
  return {
    ...packets,
    view: packets.view.narrowed(limit.side, addresses),
    rest: 1,
    scale: packets.scale * packets.rest * share,
  };
}

function tellDrop(
  walk: Walk,
  inChain: string,
  rule: ScanRule | undefined,
  { isUncertain, rest, scale }: Packets,
  ofThem: number,
  isRewrite: boolean,
): void {
  const share = ofThem * rest * scale;
  if (share <= 0) return;
  if (share <= MOST && policyChains.test(inChain)) {
    walk.mayDropMore = true;
    return;
  }
  walk.drops.push({ ...(rule !== undefined && { rule }), inChain, share, isCertain: !isUncertain, isRewrite });
}
