// Traffic rules in nftables tables of our own.
import type { Family } from "../ip/address.ts";
import { rejected, runTool } from "../sys/run-tool.ts";
import { field, isMissingObject, nftEntries, noTable, readNftTable } from "./nft-json.ts";
import { type NftFound, nftLines, nftScript, tableOf, withoutComments } from "./nft-text.ts";
import type { NftTool } from "./nft-tool.ts";
import type { FoundRules, RuleEngine, RuleRuns } from "./rule-engine.ts";
import type { FamilyRules, RuleNames } from "./rule-set.ts";

type Found = FoundRules & NftFound;

export class NftablesEngine implements RuleEngine<Found> {
  readonly name = "nftables";
  readonly randomFully: boolean;
  readonly canClampMss: boolean;
  readonly #tool: NftTool;
  readonly #names: RuleNames;
  readonly #runs: RuleRuns;
  /** Families whose table was there when it was last looked at or written. */
  readonly #present = new Set<Family>();

  /** `runs` stays the caller's. */
  constructor(tool: NftTool, names: RuleNames, runs: RuleRuns) {
    this.#tool = tool;
    this.#names = names;
    this.#runs = runs;
    this.randomFully = tool.randomFully;
    this.canClampMss = tool.canClampMss;
  }

  wantedLines(rules: FamilyRules | undefined): string[] {
    return nftLines(rules, this.#names);
  }

  async read(family: Family): Promise<Found> {
    const table = tableOf(family, this.#names);
    // One listing tells all networks of this host that their tables are not there.
    const isListed = this.#present.has(family) || (await this.#tables()).has(table);
    const found = isListed ? await this.#readTable(table) : noTable;
    if (found.hasTable) this.#present.add(family);
    else this.#present.delete(family);
    return { ...found, dropsForwarded: false };
  }

  async write(family: Family, rules: FamilyRules | undefined, found: Found): Promise<void> {
    const script = nftScript(rules, found, family, this.#names);
    this.#present.add(family);
    // As text on standard input: with -j nft wants a file there that it can open by name.
    const input = this.#tool.canComment ? script : withoutComments(script);
    await this.#runs.inTurn(() => runTool(this.#tool.path, ["-f", "-"], input));
  }

  /** `ip flannel-ipv4` */
  async #tables(): Promise<ReadonlySet<string>> {
    const entries = nftEntries(await this.#list(["-j", "list", "tables"]));
    const tables = entries.map((entry) => field(entry, "table")).filter((table) => table !== undefined);
    return new Set(tables.map((table) => `${String(field(table, "family"))} ${String(field(table, "name"))}`));
  }

  async #readTable(table: string): Promise<NftFound> {
    const args = ["-j", "list", "table", ...table.split(" ")];
    const result = await this.#runs.list(this.#tool.path, args);
    if (result.exitCode === 0) return readNftTable(result.stdout, table);
    if (isMissingObject(result)) return noTable;
    throw rejected(this.#tool.path, args, result);
  }

  async #list(args: readonly string[]): Promise<string> {
    const result = await this.#runs.list(this.#tool.path, args);
    if (result.exitCode === 0) return result.stdout;
    throw rejected(this.#tool.path, args, result);
  }
}
