// The rules of legacy iptables, which the kernel neither lists to others nor tells changes of: what its own tool saves.
import { FlannelError } from "../errors.ts";
import { findTool, runTool } from "../sys/run-tool.ts";
import type { HookChain, LoadedChain, RuleSource } from "./hook-chain.ts";
import { legacyTables } from "./iptables-engine.ts";
import { chainKey, readSavedRules, readSpec, type SavedTables } from "./legacy-rules.ts";
import type { PacketView } from "./packet-view.ts";
import { RuleMachine } from "./rule-machine.ts";

const MAX_SAVED_CHARACTERS = 16 * 1024 * 1024;

/** By family; empty where legacy iptables has no tables or is not installed. Throws what the tool says. */
export async function saveLegacyRules(): Promise<ReadonlyMap<4 | 6, string>> {
  const texts = new Map<4 | 6, string>();
  for (const family of [4, 6] as const) {
    // Listing legacy tables that do not exist would make them.
    if (legacyTables(family).length === 0) continue;
    const tool = findTool(family === 4 ? "iptables-legacy-save" : "ip6tables-legacy-save");
    if (tool === undefined) continue;
    const text = await runTool(tool, []);
    if (text.length > MAX_SAVED_CHARACTERS) {
      throw new FlannelError("FIREWALL_UNREADABLE", `${tool} prints more rules than can be looked through`);
    }
    texts.set(family, text);
  }
  return texts;
}

export class LegacyRules implements RuleSource {
  readonly baseChains: readonly HookChain[];
  readonly #saved: readonly SavedTables[];
  readonly #views: (chain: HookChain) => readonly PacketView[];
  readonly #pause: () => Promise<void>;
  readonly #loaded = new Map<string, LoadedChain>();
  readonly #machine = new RuleMachine();

  private constructor(
    saved: readonly SavedTables[],
    views: (chain: HookChain) => readonly PacketView[],
    pause: () => Promise<void>,
  ) {
    this.#saved = saved;
    this.#views = views;
    this.#pause = pause;
    this.baseChains = saved.flatMap(({ baseChains }) => baseChains);
  }

  /** `texts` as of `saveLegacyRules`; `withNat`: also chains that translate. */
  static async read(
    texts: ReadonlyMap<4 | 6, string>,
    withNat: boolean,
    views: (chain: HookChain) => readonly PacketView[],
    pause: () => Promise<void>,
  ): Promise<LegacyRules> {
    const saved: SavedTables[] = [];
    for (const [family, text] of texts) saved.push(await readSavedRules(text, family, withNat, pause));
    return new LegacyRules(saved, views, pause);
  }

  async load(base: HookChain, name: string): Promise<LoadedChain | undefined> {
    const family = base.family === "ip6" ? "ip6" : "ip";
    const key = chainKey(family, base.table, name);
    const loaded = this.#loaded.get(`${base.hook} ${key}`);
    if (loaded !== undefined) return loaded;
    const specs = this.#saved.map(({ rules }) => rules.get(key)).find((rules) => rules !== undefined);
    if (specs === undefined) return undefined;
    const views = this.#views(base);
    const rules = [];
    for (const [at, spec] of specs.entries()) {
      await this.#pause();
      const rule = readSpec(spec, family, String(at + 1));
      const mayMatch = (view: PacketView) => this.#machine.run(rule.expressions, view, undefined, noSets).share !== 0;
      if (views.some(mayMatch)) rules.push(rule);
    }
    const chain: LoadedChain = { rules, sets: new Map() };
    this.#loaded.set(`${base.hook} ${key}`, chain);
    return chain;
  }
}

const noSets = () => undefined;
