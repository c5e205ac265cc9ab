// Reads our part of a table of iptables on nftables that iptables itself does not list, because others wrote rules with nft
// that it does not understand. nft reads every chain; iptables still lists a chain whose rules it wrote itself.
import { FlannelError } from "../errors.ts";
import type { Family, Prefix } from "../ip/address.ts";
import { findTool, rejected, runTool } from "../sys/run-tool.ts";
import {
  type FoundChain,
  type FoundJump,
  type FoundRule,
  type FoundTable,
  isNotAccept,
  seedRules,
} from "./iptables-save.ts";
import { type ChainPlace, jumpSpec, toolName } from "./iptables-text.ts";
import { expressionText, field, isMissingObject, nftEntries } from "./nft-json.ts";
import { nftFamily } from "./nft-text.ts";
import type { RuleRuns } from "./rule-engine.ts";

export interface UnlistedTableOptions {
  readonly place: ChainPlace;
  readonly family: Family;
  /** Path of `iptables-nft` or `ip6tables-nft`. */
  readonly iptables: string | undefined;
  /** Whose direct rules of old versions are looked for; undefined: nobody's. */
  readonly network: Prefix | undefined;
  /** Runs what lists; stays the caller's. */
  readonly runs: RuleRuns;
}

const noRules: readonly unknown[] = [];

/**
 * `refusal`: what iptables said of the table, if anything. Throws `FIREWALL_UNREADABLE` where nft cannot help, as on a host
 * without it: what is not read must not be written.
 */
export async function readUnlistedTable(options: UnlistedTableOptions, refusal?: string): Promise<FoundTable> {
  const { place, network } = options;
  const nft = findTool("nft");
  if (nft === undefined) throw unreadable(options, "this host has no nft", refusal);
  try {
    const builtIn = await listChain(nft, options, place.builtIn);
    const own = await listChain(nft, options, place.chain);
    return {
      chain: {
        exists: own !== undefined,
        specs: own === undefined ? [] : await listSpecs(options),
        jumps: findJumps(builtIn ?? noRules, place),
        leftovers: place.table === "nat" ? findLeftovers(builtIn ?? noRules, network) : [],
      },
      dropsForwarded: place.table === "filter" && hasDropPolicy(builtIn ?? noRules),
    };
  } catch (error) {
    throw unreadable(options, error instanceof Error ? error.message : String(error), refusal);
  }
}

function unreadable(
  { place, family }: UnlistedTableOptions,
  reason: string,
  refusal = "another program has rules there that it wrote with nft",
): FlannelError {
  const table = `${nftFamily(family)} ${place.table}`;
  return new FlannelError(
    "FIREWALL_UNREADABLE",
    `${toolName(family)} does not list table ${table} (${refusal}), and nft cannot list it either (${reason})`,
    { retryable: true, details: { table } },
  );
}

/** Entries of nft; undefined when there is no such chain. */
async function listChain(
  nft: string,
  { family, place, runs }: UnlistedTableOptions,
  chain: string,
): Promise<readonly unknown[] | undefined> {
  const args = ["-j", "list", "chain", nftFamily(family), place.table, chain];
  const result = await runs.list(nft, args);
  if (result.exitCode === 0) return nftEntries(result.stdout);
  if (isMissingObject(result)) return undefined;
  throw rejected(nft, args, result);
}

function hasDropPolicy(entries: readonly unknown[]): boolean {
  return entries.some((entry) => field(field(entry, "chain"), "policy") === "drop");
}

export function findJumps(entries: readonly unknown[], place: ChainPlace): FoundJump[] {
  const rules = rulesIn(entries);
  const targets = rules.map(targetOf);
  return rules.flatMap((rule, index) => {
    const handle = Number(field(rule, "handle"));
    if (targets[index] !== place.chain || !Number.isSafeInteger(handle)) return [];
    const before = targets.slice(0, index).filter((target) => isNotAccept(`-j ${target}`));
    const spec = isPlainJump(rule) ? jumpSpec(place) : `-j ${place.chain} (rule ${handle} of nft)`;
    return [{ spec, position: before.length + 1, handle }];
  });
}

function rulesIn(entries: readonly unknown[]): readonly unknown[] {
  return entries.map((entry) => field(entry, "rule")).filter((rule) => rule !== undefined);
}

function expressionsOf(rule: unknown): readonly unknown[] {
  const expressions = field(rule, "expr");
  return Array.isArray(expressions) ? expressions : [];
}

function targetOf(rule: unknown): string {
  const verdicts = expressionsOf(rule).map((part) => field(part, "jump") ?? field(part, "goto"));
  return String(
    field(
      verdicts.find((verdict) => verdict !== undefined),
      "target",
    ) ?? "",
  );
}

/** As iptables writes ours: comment, counter, jump. What the comment says, nft does not show. */
function isPlainJump(rule: unknown): boolean {
  const [comment, counter, jump, ...more] = expressionsOf(rule);
  const isOf = (part: unknown, name: string) => typeof part === "object" && part !== null && name in part;
  return isOf(comment, "xt") && isOf(counter, "counter") && isOf(jump, "jump") && more.length === 0;
}

/** Of our own chain. A foreign rule in it that iptables cannot show makes it differ from everything wanted. */
async function listSpecs({ place, iptables, runs }: UnlistedTableOptions): Promise<FoundChain["specs"]> {
  if (iptables === undefined) throw new Error("this host has no iptables");
  const args = ["-t", place.table, "-S", place.chain];
  const result = await runs.list(iptables, args);
  if (result.exitCode !== 0 && /is incompatible/.test(result.stderr)) return ["a rule that iptables does not show"];
  if (result.exitCode !== 0) throw rejected(iptables, args, result);
  const own = `-A ${place.chain} `;
  return result.stdout
    .split("\n")
    .filter((line) => line.startsWith(own))
    .map((line) => line.slice(own.length));
}

const oldVerdicts: Readonly<Record<string, RegExp>> = { RETURN: /^return$/, MASQUERADE: /^(masquerade|\{"xt":.*\})$/ };

/** Direct rules of old versions, as iptables on nftables wrote them. */
export function findLeftovers(entries: readonly unknown[], network: Prefix | undefined): FoundRule[] {
  if (network === undefined) return [];
  const wanted = seedRules(network).map((spec) => {
    const [matches = "", verdict = ""] = spec.split(" -j ");
    const text = matches.replaceAll(
      /(! )?-([sd]) (\S+)/g,
      (_, not, end, prefix) => `ip ${end}addr ${not === undefined ? "" : "!= "}${prefix}`,
    );
    return { spec, matches: text, verdict: oldVerdicts[verdict] };
  });
  return rulesIn(entries).flatMap((rule) => {
    const texts = expressionsOf(rule)
      .map(expressionText)
      .filter((text) => !text.startsWith('{"counter"'));
    const [matches, last = ""] = [texts.slice(0, -1).join(" "), texts.at(-1)];
    const seed = wanted.find((entry) => entry.matches === matches && entry.verdict?.test(last) === true);
    return seed === undefined ? [] : [{ spec: seed.spec, handle: Number(field(rule, "handle")) }];
  });
}

/** Removes rules by handle, all or none. */
export async function deleteByHandle(commands: readonly string[]): Promise<void> {
  if (commands.length === 0) return;
  const nft = findTool("nft");
  if (nft === undefined) throw new FlannelError("TOOL_MISSING", "this host has no nft: install nftables");
  await runTool(nft, ["-f", "-"], commands.map((command) => `${command}\n`).join(""));
}
