// Traffic rules in chains of our own in iptables, through one of its two variants: on top of nftables, or legacy.
import { readFileSync } from "node:fs";
import { FlannelError } from "../errors.ts";
import type { Family, Prefix } from "../ip/address.ts";
import { restoreInput } from "./iptables-restore.ts";
import { type IptablesFound, readIptablesSave } from "./iptables-save.ts";
import { iptablesLines, toolName } from "./iptables-text.ts";
import type { RuleEngine } from "./rule-engine.ts";
import type { FamilyRules, RuleNames } from "./rule-set.ts";
import { runTool } from "./run-tool.ts";
import { isAtLeast } from "./version.ts";

/** Paths of the programs of one variant. */
export interface IptablesTools {
  readonly variant: "nft" | "legacy";
  readonly version: readonly number[];
  readonly save: Readonly<Record<Family, string | undefined>>;
  readonly restore: Readonly<Record<Family, string | undefined>>;
}

export class IptablesEngine implements RuleEngine<IptablesFound> {
  readonly name: "iptables-nft" | "iptables-legacy";
  readonly randomFully: boolean;
  readonly #tools: IptablesTools;
  readonly #names: RuleNames;
  readonly #network: (family: Family) => Prefix | undefined;

  /** `network`: of the configuration; direct rules of old versions about it are ours. */
  constructor(tools: IptablesTools, names: RuleNames, network: (family: Family) => Prefix | undefined) {
    this.name = `iptables-${tools.variant}`;
    this.randomFully = isAtLeast(tools.version, [1, 6, 2]);
    this.#tools = tools;
    this.#names = names;
    this.#network = network;
  }

  wantedLines(rules: FamilyRules | undefined): string[] {
    return iptablesLines(rules, this.#names, false);
  }

  async read(family: Family): Promise<IptablesFound> {
    const tables = this.#tables(family);
    const save = this.#tools.save[family];
    const texts = save === undefined ? [] : await Promise.all(tables.map((table) => runTool(save, ["-t", table])));
    return readIptablesSave(texts.join(""), family, this.#names, this.#network(family));
  }

  async write(family: Family, rules: FamilyRules | undefined, found: IptablesFound): Promise<void> {
    const input = restoreInput(rules, found, this.#names, false);
    const restore = this.#tools.restore[family];
    if (restore === undefined) {
      throw new FlannelError("tool.missing", `this host has no ${toolName(family)}-restore: install iptables`);
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
