// Traffic rules in chains of our own in iptables, through one of its two variants: on top of nftables, or legacy.
import { readFileSync } from "node:fs";
import { FlannelError } from "../errors.ts";
import type { Address, Family, Prefix } from "../ip/address.ts";
import { runTool } from "../sys/run-tool.ts";
import { restoreInput } from "./iptables-restore.ts";
import { type IptablesFound, readIptablesSave } from "./iptables-save.ts";
import { iptablesLines, toolName } from "./iptables-text.ts";
import { destroyNodeSet, nodeSetLines, readNodeSet, writeNodeSet } from "./node-set.ts";
import type { RuleEngine } from "./rule-engine.ts";
import type { FamilyRules, RuleNames } from "./rule-set.ts";
import { isAtLeast } from "./version.ts";

/** Paths of the programs of one variant. */
export interface IptablesTools {
  readonly variant: "nft" | "legacy";
  readonly version: readonly number[];
  readonly save: Readonly<Record<Family, string | undefined>>;
  readonly restore: Readonly<Record<Family, string | undefined>>;
  /** Where it works; without it every node has a rule of its own. */
  readonly ipset: string | undefined;
}

interface Found extends IptablesFound {
  /** Members of the set of nodes; missing: there is none, or none that a rule of ours uses. */
  readonly nodes?: readonly Address[];
}

export class IptablesEngine implements RuleEngine<Found> {
  readonly name: "iptables-nft" | "iptables-legacy";
  readonly randomFully: boolean;
  readonly #tools: IptablesTools;
  readonly #names: RuleNames;
  readonly #network: (family: Family) => Prefix | undefined;
  /** Families for which we made a set of nodes. */
  readonly #madeSets = new Set<Family>();

  /** `network`: of the configuration; direct rules of old versions about it are ours. */
  constructor(tools: IptablesTools, names: RuleNames, network: (family: Family) => Prefix | undefined) {
    this.name = `iptables-${tools.variant}`;
    this.randomFully = isAtLeast(tools.version, [1, 6, 2]);
    this.#tools = tools;
    this.#names = names;
    this.#network = network;
  }

  wantedLines(rules: FamilyRules | undefined): string[] {
    const hasSet = this.#tools.ipset !== undefined;
    const set =
      hasSet && rules?.nodes !== undefined
        ? nodeSetLines(this.#names.nodeSet(rules.family), rules.family, rules.nodes)
        : [];
    return [...set, ...iptablesLines(rules, this.#names, hasSet)];
  }

  async read(family: Family): Promise<Found> {
    const tables = this.#tables(family);
    const save = this.#tools.save[family];
    const texts = save === undefined ? [] : await Promise.all(tables.map((table) => runTool(save, ["-t", table])));
    const found = readIptablesSave(texts.join(""), family, this.#names, this.#network(family));
    const setName = this.#names.nodeSet(family);
    const { ipset } = this.#tools;
    const isUsed = this.#madeSets.has(family) || found.lines.some((line) => line.includes(` ${setName} `));
    const nodes = ipset !== undefined && isUsed ? await readNodeSet(ipset, setName) : undefined;
    if (nodes === undefined) return found;
    return { ...found, nodes, lines: [...nodeSetLines(setName, family, nodes), ...found.lines] };
  }

  async write(family: Family, rules: FamilyRules | undefined, found: Found): Promise<void> {
    const { ipset } = this.#tools;
    const setName = this.#names.nodeSet(family);
    // Rules can only be loaded while their set is there, and a set can only go once no rule uses it.
    if (ipset !== undefined && rules?.nodes !== undefined) {
      this.#madeSets.add(family);
      await writeNodeSet(ipset, setName, family, rules.nodes, found.nodes);
    }
    await this.#restore(family, restoreInput(rules, found, this.#names, ipset !== undefined));
    if (ipset !== undefined && rules?.nodes === undefined && found.nodes !== undefined) {
      await destroyNodeSet(ipset, setName);
      this.#madeSets.delete(family);
    }
  }

  async #restore(family: Family, input: string): Promise<void> {
    if (input === "") return;
    const restore = this.#tools.restore[family];
    if (restore === undefined) {
      throw new FlannelError("TOOL_MISSING", `this host has no ${toolName(family)}-restore: install iptables`);
    }
    // Before 1.6.2 iptables-restore knew no lock to wait for.
    const wait = isAtLeast(this.#tools.version, [1, 6, 2]) ? ["--wait"] : [];
    await runTool(restore, ["--noflush", ...wait], input);
  }

  /** Looking at a table of legacy iptables makes it: only those that are there are looked at. */
  #tables(family: Family): readonly string[] {
    const both = ["nat", "filter"];
    if (this.#tools.variant === "nft") return both;
    const present = legacyTables(family);
    return both.filter((table) => present.includes(table));
  }
}

export function hasLegacyTables(): boolean {
  return ([4, 6] as const).some((family) => legacyTables(family).length > 0);
}

/** Tables of legacy iptables that exist in this network namespace. */
export function legacyTables(family: Family): string[] {
  try {
    return readFileSync(family === 4 ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names", "utf8")
      .split("\n")
      .filter((name) => name !== "");
  } catch {
    return [];
  }
}
