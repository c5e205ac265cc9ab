// Traffic rules in nftables tables of our own.
import { FlannelError } from "../errors.ts";
import type { Family } from "../ip/address.ts";
import { rejected, runTool, tryTool } from "../sys/run-tool.ts";
import { isMissingObject, noTable, readNftTable } from "./nft-json.ts";
import { type NftFound, nftLines, nftScript, tableOf, withoutComments } from "./nft-text.ts";
import type { FoundRules, RuleEngine } from "./rule-engine.ts";
import type { FamilyRules, RuleNames } from "./rule-set.ts";
import { isAtLeast, readVersion } from "./version.ts";

/** The first whose listings and scripts can be relied on; flannel asks for the same. */
const MIN_VERSION = [1, 0, 1] as const;

type Found = FoundRules & NftFound;

interface Abilities {
  readonly comment: boolean;
  readonly randomFully: boolean;
  readonly clampMss: boolean;
}

export class NftablesEngine implements RuleEngine<Found> {
  readonly name = "nftables";
  readonly randomFully: boolean;
  readonly canClampMss: boolean;
  readonly #path: string;
  readonly #names: RuleNames;
  readonly #canComment: boolean;

  private constructor(path: string, names: RuleNames, can: Abilities) {
    this.#path = path;
    this.#names = names;
    this.#canComment = can.comment;
    this.randomFully = can.randomFully;
    this.canClampMss = can.clampMss;
  }

  /** `path`: the nft program; without `willWrite` it is only good for looking and removing. Throws `TOOL_MISSING` when it is too old, `FIREWALL_REJECTED` when it cannot work here. */
  static async open(path: string, names: RuleNames, willWrite: boolean): Promise<NftablesEngine> {
    const [version] = await Promise.all([runTool(path, ["--version"]), runTool(path, ["-j", "list", "tables"])]);
    if (!isRecent(version)) {
      throw new FlannelError(
        "TOOL_MISSING",
        `${path} is ${version.trim()}; traffic rules need nftables v1.0.1 or newer`,
      );
    }
    if (!willWrite) return new NftablesEngine(path, names, { comment: false, randomFully: false, clampMss: false });
    const [comment, randomFully, clampMss] = await Promise.all([
      probe(
        path,
        `add table ip flannel-probe { comment "probe" ; }`,
        `{ type nat hook postrouting priority 100 ; comment "probe" ; }`,
      ),
      probe(
        path,
        "add table ip flannel-probe",
        "{ type nat hook postrouting priority 100 ; }",
        "masquerade fully-random",
      ),
      probe(
        path,
        "add table ip flannel-probe",
        "{ type filter hook forward priority -150 ; }",
        "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu",
      ),
    ]);
    return new NftablesEngine(path, names, { comment, randomFully, clampMss });
  }

  wantedLines(rules: FamilyRules | undefined): string[] {
    return nftLines(rules, this.#names);
  }

  async read(family: Family): Promise<Found> {
    const table = tableOf(family, this.#names);
    const args = ["-j", "list", "table", ...table.split(" ")];
    const result = await tryTool(this.#path, args);
    if (result.exitCode === 0) return { ...readNftTable(result.stdout, table), dropsForwarded: false };
    if (isMissingObject(result)) return { ...noTable, dropsForwarded: false };
    throw rejected(this.#path, args, result);
  }

  async write(family: Family, rules: FamilyRules | undefined, found: Found): Promise<void> {
    const script = nftScript(rules, found, family, this.#names);
    // As text on standard input: with -j nft wants a file there that it can open by name.
    await runTool(this.#path, ["-f", "-"], this.#canComment ? script : withoutComments(script));
  }
}

/** Whether the kernel would take it; changes nothing. */
async function probe(path: string, table: string, chain: string, rule?: string): Promise<boolean> {
  const lines = [table, `add chain ip flannel-probe probe ${chain}`];
  if (rule !== undefined) lines.push(`add rule ip flannel-probe probe ip saddr != 127.0.0.1 ${rule}`);
  const { exitCode } = await tryTool(path, ["--check", "-f", "-"], `${lines.join("\n")}\n`);
  return exitCode === 0;
}

function isRecent(text: string): boolean {
  return isAtLeast(readVersion(text), MIN_VERSION);
}
