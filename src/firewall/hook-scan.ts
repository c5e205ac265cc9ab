// Looks for rules and policies of other programs that drop flannel's traffic, in every hook: no accept of ours in another
// chain outweighs them. Reads of the kernel's rules only chains that packets of ours come to, in slices of a few milliseconds.
import { NfTablesQuerySocket } from "../netlink/nftables/nf-tables-query-socket.ts";
import { type HookChain, inOrder, viewAt } from "./hook-chain.ts";
import type { TestWay } from "./hook-packets.ts";
import { walkChain } from "./hook-walk.ts";
import { KernelRules } from "./kernel-rules.ts";
import { LegacyRules } from "./legacy-source.ts";
import type { TriedDrop } from "./packet-drop.ts";
import type { PacketView } from "./packet-view.ts";
import type { RuleCache } from "./rule-cache.ts";
import { RuleMachine } from "./rule-machine.ts";
import type { RuleNames } from "./rule-set.ts";
import type { WorkSlices } from "./work-slices.ts";

export interface HookScanOptions {
  readonly names: RuleNames;
  /** What is known of the kernel's rules; stays the caller's. */
  readonly cache: RuleCache;
  /** Of legacy iptables, by family. */
  readonly legacy: ReadonlyMap<4 | 6, string>;
  /** Undefined: not known. */
  readonly deviceIndex: (name: string) => number | undefined;
  readonly turns: WorkSlices;
  /** Also rules that give packets another destination: of a host with thousands of services they are many. */
  readonly withNat: boolean;
}

/** What becomes of packets on their ways. */
export interface HookScan {
  /** Each chain that drops some of them, or sends them elsewhere, with the rule. */
  readonly found: readonly TriedDrop[];
  /** See `ChainOutcome`, of any chain. */
  readonly mayDropMore: boolean;
}

/** Throws when rules cannot be read. */
export async function scanHooks(ways: readonly TestWay[], options: HookScanOptions): Promise<HookScan> {
  const { names, cache, legacy, turns, withNat } = options;
  const deviceIndex = remembered(options.deviceIndex);
  const isIn = (chain: HookChain, way: TestWay) => viewAt(chain, way, deviceIndex);
  const viewsOf = (chain: HookChain): readonly PacketView[] =>
    ways.map((way) => isIn(chain, way)).filter((view) => view !== undefined);
  using socket = NfTablesQuerySocket.open(turns.pause);
  const kernel = new KernelRules(socket, cache, viewsOf);
  const saved = await LegacyRules.read(legacy, withNat, viewsOf, turns.pause);
  const kernelChains = (await kernel.baseChains()).filter(
    ({ table, translates }) => table !== names.table(4) && table !== names.table(6) && (withNat || !translates),
  );
  const chains = inOrder([...kernelChains, ...saved.baseChains]);
  const machine = new RuleMachine();
  const found: TriedDrop[] = [];
  let mayDropMore = false;
  for (const way of ways) {
    let mark: number | undefined = 0;
    for (const chain of chains) {
      const view = isIn(chain, way);
      if (view === undefined) continue;
      const source = chain.isLegacy ? saved : kernel;
      const outcome = await walkChain(chain, view, mark, { source, machine, pause: turns.pause });
      mark = outcome.mark;
      mayDropMore ||= outcome.mayDropMore;
      for (const drop of outcome.drops) found.push({ chain, way, drop });
    }
  }
  cache.endScan();
  return { found, mayDropMore };
}

/** A rule set of thousands may ask thousands of times. */
function remembered(deviceIndex: HookScanOptions["deviceIndex"]): HookScanOptions["deviceIndex"] {
  const indices = new Map<string, number | undefined>();
  return (name) => {
    if (!indices.has(name)) indices.set(name, deviceIndex(name));
    return indices.get(name);
  };
}
