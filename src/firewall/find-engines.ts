// Which firewall tools this host has, and which of them the rules belong into.
import { describeError, FlannelError } from "../errors.ts";
import type { Family, Prefix } from "../ip/address.ts";
import { findTool, runTool, tryTool } from "../sys/run-tool.ts";
import { isAbsentEngine } from "./absent-engine.ts";
import { hasLegacyTables, IptablesEngine, type IptablesTools, legacyTables } from "./iptables-engine.ts";
import { countForeignRules } from "./iptables-save.ts";
import { NftablesEngine } from "./nftables-engine.ts";
import { canUseIpset } from "./node-set.ts";
import type { EngineName, RuleEngine } from "./rule-engine.ts";
import type { RuleNames } from "./rule-set.ts";
import { readVersion } from "./version.ts";

export interface FoundEngines {
  /** Where the rules go. */
  readonly primary: RuleEngine;
  /** Where rules of an earlier mode may be left. */
  readonly others: readonly RuleEngine[];
  /** Why this one; a clause for a person. */
  readonly reason: string;
  /** The host lacks what was asked for. */
  readonly warning?: string;
  /** Why one that may have rules of an earlier mode cannot be looked at. */
  readonly unreadable?: string;
}

export interface FindEnginesOptions {
  /** EnableNFTables of the configuration. */
  readonly preferNftables: boolean;
  readonly names: RuleNames;
  /** Whose direct rules of old versions are ours; undefined: nobody's. */
  readonly network: (family: Family) => Prefix | undefined;
}

/** Throws `TOOL_MISSING` when the host has neither nft nor iptables in a usable form. */
export async function findEngines({ preferNftables, names, network }: FindEnginesOptions): Promise<FoundEngines> {
  const [opened, variants] = await Promise.all([openNftables(names, preferNftables), findIptables()]);
  const nftables = preferNftables || variants.length > 0 ? opened : await openNftables(names, true);
  const iptables = variants.map((tools) => new IptablesEngine(tools, names, network));
  const chosen = await chooseVariant(variants);
  const preferred = iptables.find(({ name }) => name === `iptables-${chosen?.tools.variant}`);
  const unread = nftables.isUnreadable === true ? { unreadable: nftables.problem } : {};
  const engines = [...(nftables.engine === undefined ? [] : [nftables.engine]), ...iptables];
  const others = (primary: RuleEngine) => engines.filter((engine) => engine !== primary);
  if (preferNftables && nftables.engine !== undefined) {
    return { primary: nftables.engine, others: others(nftables.engine), reason: "EnableNFTables is true" };
  }
  if (!preferNftables && preferred !== undefined) {
    return { primary: preferred, others: others(preferred), reason: chosen?.reason ?? "", ...unread };
  }
  const primary = preferNftables ? preferred : nftables.engine;
  if (primary === undefined) {
    const message = "traffic rules need nft or iptables, and neither works on this host";
    throw new FlannelError("TOOL_MISSING", `${message} (${nftables.problem}): install nftables or iptables`);
  }
  const reason = preferNftables ? nftables.problem : "this host has no iptables";
  const asked = preferNftables ? "EnableNFTables is true" : "the configuration asks for iptables";
  return { primary, others: others(primary), reason, warning: `${asked}, but ${reason}: using ${primary.name}` };
}

async function openNftables(
  names: RuleNames,
  isPreferred: boolean,
): Promise<{ engine?: NftablesEngine; problem: string; isUnreadable?: boolean }> {
  const path = findTool("nft");
  if (path === undefined) return { problem: "this host has no nft" };
  try {
    return { engine: await NftablesEngine.open(path, names, isPreferred), problem: "" };
  } catch (error) {
    return { problem: describeError(error), isUnreadable: !isAbsentEngine(error) };
  }
}

/** Both variants may be installed side by side; plain `iptables` is one of them, or of a time before there were two. */
async function findIptables(): Promise<IptablesTools[]> {
  const ipset = findUsableIpset();
  const found = await Promise.all(
    ["iptables", "iptables-nft", "iptables-legacy"].map((program) => describeTools(program, ipset)),
  );
  const tools = found.filter((entry) => entry !== undefined);
  return tools.filter(({ variant }, index) => tools.findIndex((other) => other.variant === variant) === index);
}

async function findUsableIpset(): Promise<string | undefined> {
  const path = findTool("ipset");
  return path !== undefined && (await canUseIpset(path)) ? path : undefined;
}

async function describeTools(program: string, ipset: Promise<string | undefined>): Promise<IptablesTools | undefined> {
  const path = findTool(program);
  if (path === undefined) return undefined;
  const { stdout, exitCode } = await tryTool(path, ["--version"]);
  if (exitCode !== 0) return undefined;
  const ipv6 = program.replace("iptables", "ip6tables");
  return {
    variant: stdout.includes("nf_tables") ? "nft" : "legacy",
    version: readVersion(stdout),
    save: { 4: findTool(`${program}-save`), 6: findTool(`${ipv6}-save`) },
    ipset: await ipset,
    program: { 4: path, 6: findTool(ipv6) },
    restore: { 4: findTool(`${program}-restore`), 6: findTool(`${ipv6}-restore`) },
  };
}

interface VariantChoice {
  readonly tools: IptablesTools;
  readonly reason: string;
}

/** The variant that holds more rules of others; between equals the one that plain `iptables` is, which comes first. */
async function chooseVariant(variants: readonly IptablesTools[]): Promise<VariantChoice | undefined> {
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
