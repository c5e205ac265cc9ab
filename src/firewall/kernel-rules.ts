// The rules of nf_tables as far as packets of ours can meet them: read one chain at a time, when a packet comes there, and kept until
// the kernel tells that the chain or a set that it uses has changed.
import type { Expression } from "../netlink/nftables/expressions.ts";
import type { NfTablesQuerySocket } from "../netlink/nftables/nf-tables-query-socket.ts";
import {
  type HookChain,
  hookOf,
  isBeforeTracking,
  type LoadedChain,
  mayAct,
  protocolOf,
  type RuleSource,
  rewritesAt,
  type ScanRule,
  tableFamily,
} from "./hook-chain.ts";
import { type LoadedSet, loadSet, MAX_SET_ELEMENTS } from "./loaded-set.ts";
import type { PacketView } from "./packet-view.ts";
import { objectKey, type RuleCache } from "./rule-cache.ts";
import { RuleMachine } from "./rule-machine.ts";

export class KernelRules implements RuleSource {
  readonly #socket: NfTablesQuerySocket;
  readonly #views: (chain: HookChain) => readonly PacketView[];
  readonly #kept: RuleCache;

  /** `views`: the packets that meet a base chain. `socket` and `kept` stay the caller's. */
  constructor(socket: NfTablesQuerySocket, kept: RuleCache, views: (chain: HookChain) => readonly PacketView[]) {
    this.#socket = socket;
    this.#kept = kept;
    this.#views = views;
  }

  /** Those that may drop packets, or give them another destination. */
  async baseChains(): Promise<readonly HookChain[]> {
    this.#kept.baseChains ??= await this.#readBaseChains();
    return this.#kept.baseChains;
  }

  async #readBaseChains(): Promise<readonly HookChain[]> {
    const asleep = await this.#socket.dormantTables();
    const chains = await this.#socket.baseChains();
    return chains.flatMap(({ family: protocol, table, name, hook: at }): HookChain[] => {
      const family = tableFamily(protocol);
      const hook = family === undefined || at === undefined ? undefined : hookOf(family, at.number);
      if (family === undefined || at === undefined || hook === undefined) return [];
      const translates = at.type === "nat";
      if (translates && !rewritesAt.includes(hook)) return [];
      if (asleep.has(`${protocol} ${table}`)) return [];
      const { priority, devices, dropsByPolicy } = at;
      return [{ family, table, name, hook, priority, devices, dropsByPolicy, isLegacy: false, translates }];
    });
  }

  async load(base: HookChain, name: string): Promise<LoadedChain | undefined> {
    const key = `${base.hook} ${isBeforeTracking(base)} ${base.family} ${base.table} ${name} ${base.devices.join(" ")}`;
    const kept = this.#kept.find(key);
    if (kept !== undefined) return kept;
    const family = protocolOf(base.family);
    const { table } = base;
    const version = this.#kept.follow(key, objectKey("rule", family, table, name));
    const views = this.#views(base);
    const isWanted = relevance(views);
    const rules = (await this.#socket.rules({ family, table, name }, isWanted)).filter(mayAct);
    const sets = new Map<string, LoadedSet>();
    for (const set of setsOf(rules)) {
      this.#kept.follow(key, objectKey("set", family, table, set));
      const loaded = await this.#loadSet({ family, table, name: set });
      if (loaded !== undefined) sets.set(set, loaded);
    }
    const chain: LoadedChain = { rules, sets };
    this.#kept.keep(key, chain, version, isWanted);
    return chain;
  }

  async #loadSet(set: { family: number; table: string; name: string }): Promise<LoadedSet | undefined> {
    const description = await this.#socket.set(set);
    if (description === undefined) return undefined;
    return loadSet(description, await this.#socket.elements(set, MAX_SET_ELEMENTS));
  }
}

/** Whether a packet may match what has been read of a rule, whatever mark it bears and whatever sets hold. */
function relevance(views: readonly PacketView[]): (soFar: readonly Expression[]) => boolean {
  const machine = new RuleMachine();
  return (soFar) => views.some((view) => machine.run(soFar, view, undefined, noSets).share !== 0);
}

const noSets = () => undefined;

function setsOf(rules: readonly ScanRule[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { expressions } of rules) {
    for (const expression of expressions) if (expression.type === "lookup") names.add(expression.set);
  }
  return names;
}
