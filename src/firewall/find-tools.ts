// Which firewall tools this host has, whatever network their rules are for.
import { describeError } from "../errors.ts";
import { findTool, runTool, tryTool } from "../sys/run-tool.ts";
import { isAbsentEngine } from "./absent-engine.ts";
import { hasLegacyTables, type IptablesTools, legacyTables } from "./iptables-engine.ts";
import { countForeignRules } from "./iptables-save.ts";
import { inspectNft, type NftTool } from "./nft-tool.ts";
import { canUseIpset } from "./node-set.ts";
import type { EngineName } from "./rule-engine.ts";
import { readVersion } from "./version.ts";

export interface RuleTools {
  readonly nft: FoundNft;
  readonly iptables: readonly IptablesTools[];
  /** The one of them whose rules are the host's; undefined: there is none. */
  readonly chosen: { readonly tools: IptablesTools; readonly reason: string } | undefined;
}

export interface FoundNft {
  /** Missing: it cannot be used. */
  readonly tool?: NftTool;
  /** Why not; a clause. */
  readonly problem: string;
  /** It is there, and may have rules that nobody can see now. */
  readonly isUnreadable?: boolean;
}

export async function findRuleTools(preferNftables: boolean): Promise<RuleTools> {
  const [opened, iptables] = await Promise.all([findNft(preferNftables), findIptables()]);
  const nft = preferNftables || iptables.length > 0 ? opened : await findNft(true);
  return { nft, iptables, chosen: await chooseVariant(iptables) };
}

async function findNft(willWrite: boolean): Promise<FoundNft> {
  const path = findTool("nft");
  if (path === undefined) return { problem: "this host has no nft" };
  try {
    return { tool: await inspectNft(path, willWrite), problem: "" };
  } catch (error) {
    return { problem: describeError(error), isUnreadable: !isAbsentEngine(error) };
  }
}

/** Both variants may be installed side by side; plain `iptables` is one of them, or of a time before there were two. */
async function findIptables(): Promise<IptablesTools[]> {
  const programs = ["iptables", "iptables-nft", "iptables-legacy"].map(describeTools);
  const [ipset, ...found] = await Promise.all([findUsableIpset(), ...programs]);
  const tools = found.filter((entry) => entry !== undefined).map((entry) => ({ ...entry, ipset }));
  return tools.filter(({ variant }, index) => tools.findIndex((other) => other.variant === variant) === index);
}

async function findUsableIpset(): Promise<string | undefined> {
  const path = findTool("ipset");
  return path !== undefined && (await canUseIpset(path)) ? path : undefined;
}

async function describeTools(program: string): Promise<Omit<IptablesTools, "ipset"> | undefined> {
  const path = findTool(program);
  if (path === undefined) return undefined;
  const { stdout, exitCode } = await tryTool(path, ["--version"]);
  if (exitCode !== 0) return undefined;
  const ipv6 = program.replace("iptables", "ip6tables");
  return {
    variant: stdout.includes("nf_tables") ? "nft" : "legacy",
    version: readVersion(stdout),
    save: { 4: findTool(`${program}-save`), 6: findTool(`${ipv6}-save`) },
    program: { 4: path, 6: findTool(ipv6) },
    restore: { 4: findTool(`${program}-restore`), 6: findTool(`${ipv6}-restore`) },
  };
}

/** The variant that holds more rules of others; between equals the one that plain `iptables` is, which comes first. */
async function chooseVariant(variants: readonly IptablesTools[]): Promise<RuleTools["chosen"]> {
  const [first, second] = variants;
  if (first === undefined) return undefined;
  if (second === undefined) return { tools: first, reason: "it is the only iptables on this host" };
  // The usual case, told without starting a program.
  const byDefault = { tools: first, reason: "it is the default iptables on this host" };
  if (first.variant === "nft" && !mayHaveLegacyTables()) return byDefault;
  const [ofFirst, ofSecond] = [await foreignRules(first), await foreignRules(second)];
  if (ofFirst === undefined || ofSecond === undefined || ofFirst === ofSecond) return byDefault;
  const tools = ofFirst > ofSecond ? first : second;
  return {
    tools,
    reason: `it has the most rules of other programs (${ofFirst} in ${nameOf(first)}, ${ofSecond} in ${nameOf(second)})`,
  };
}

function nameOf({ variant }: IptablesTools): EngineName {
  return `iptables-${variant}`;
}

function mayHaveLegacyTables(): boolean {
  try {
    return hasLegacyTables();
  } catch {
    return true;
  }
}

/** Undefined when they cannot be read. */
async function foreignRules({ variant, save }: IptablesTools): Promise<number | undefined> {
  try {
    const counts = await Promise.all(
      ([4, 6] as const).map(async (family) => {
        const program = save[family];
        // Listing legacy tables would make them.
        if (program === undefined || (variant === "legacy" && legacyTables(family).length === 0)) return 0;
        return countForeignRules(await runTool(program, []));
      }),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  } catch {
    return undefined;
  }
}
