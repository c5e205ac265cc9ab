// The chains and rules of all programs, and what becomes of a packet in them. Pure.
import type { Family, Prefix } from "../ip/address.ts";
import { tryParseAddress, tryParsePrefix } from "../ip/address.ts";
import { type Answer, matchesAll } from "./hook-expressions.ts";
import type { Hook, TestPacket } from "./hook-packets.ts";
import { field } from "./nft-json.ts";

export type TableFamily = "ip" | "ip6" | "inet" | "bridge" | "netdev";

export interface HookRule {
  /** As nft lists them, the verdict left out. */
  readonly matches: readonly unknown[];
  readonly verdict: Verdict;
  /** For people. */
  readonly text: string;
}

/** `unknown`: it may end the packet's way through the chain, nobody knows how. */
export type Verdict =
  | { readonly type: "accept" | "drop" | "return" | "continue" | "unknown" }
  | { readonly type: "jump" | "goto"; readonly target: string };

export interface HookChain {
  readonly family: TableFamily;
  readonly table: string;
  readonly name: string;
  /** Missing: rules jump there. */
  readonly hook?: Hook;
  /** Of ingress and egress: the devices it hangs at. */
  readonly devices: readonly string[];
  readonly dropsByPolicy: boolean;
  readonly rules: HookRule[];
  /** Legacy iptables keeps it, not nf_tables. */
  readonly isLegacy: boolean;
}

/** By `tableKey`, then by name. */
export type HookTables = Map<string, Map<string, HookChain>>;

export interface ChainOutcome {
  readonly type: "accept" | "drop" | "none";
  /** Of a drop: the rule; missing: the policy. */
  readonly rule?: HookRule;
  /** Something before it that cannot be judged may have let the packet pass. */
  readonly isUncertain: boolean;
}

const MAX_DEPTH = 16;
/** Rules looked at for one packet in one base chain: a rule set that jumps in circles ends here. */
const MAX_RULES = 50_000;
const hooks: ReadonlySet<unknown> = new Set<Hook>([
  "ingress",
  "prerouting",
  "input",
  "forward",
  "output",
  "postrouting",
  "egress",
]);

export function tableKey(family: string, table: string, isLegacy = false): string {
  return `${isLegacy ? "legacy " : ""}${family} ${table}`;
}

/** Puts one object of `nft -j` into the tables; what is neither a chain nor a rule is left out. */
export function addNftObject(
  tables: HookTables,
  entry: unknown,
  devicesOf: ReadonlyMap<string, readonly string[]> = new Map(),
): void {
  const chain = field(entry, "chain");
  const rule = field(entry, "rule");
  const object = chain ?? rule;
  const family = field(object, "family");
  if (family !== "ip" && family !== "ip6" && family !== "inet" && family !== "bridge" && family !== "netdev") return;
  const table = String(field(object, "table"));
  if (chain !== undefined) addChain(tables, chainOf(chain, family, table, devicesOf));
  const expressions = field(rule, "expr");
  if (Array.isArray(expressions)) {
    tables
      .get(tableKey(family, table))
      ?.get(String(field(rule, "chain")))
      ?.rules.push(ruleOf(expressions));
  }
}

export function addChain(tables: HookTables, chain: HookChain): void {
  const key = tableKey(chain.family, chain.table, chain.isLegacy);
  const chains = tables.get(key) ?? new Map<string, HookChain>();
  tables.set(key, chains.set(chain.name, chain));
}

function chainOf(
  chain: unknown,
  family: TableFamily,
  table: string,
  devicesOf: ReadonlyMap<string, readonly string[]>,
): HookChain {
  const hook = field(chain, "hook");
  const name = String(field(chain, "name"));
  const device = field(chain, "dev");
  const devices = Array.isArray(device)
    ? device.map(String)
    : device === undefined
      ? (devicesOf.get(name) ?? [])
      : [String(device)];
  // What nat chains leave out is not dropped by them.
  const isBase = hooks.has(hook) && field(chain, "type") !== "nat";
  return {
    family,
    table,
    name,
    ...(isBase && { hook: hook as Hook }),
    devices,
    dropsByPolicy: field(chain, "policy") === "drop",
    rules: [],
    isLegacy: false,
  };
}

function ruleOf(expressions: readonly unknown[]): HookRule {
  const verdict = verdictOf(expressions.at(-1));
  const matches = verdict === undefined ? expressions : expressions.slice(0, -1);
  return {
    matches,
    verdict: verdict ?? { type: "continue" },
    text: ruleText(matches, verdictName(expressions.at(-1), verdict)),
  };
}

function verdictName(expression: unknown, verdict: Verdict | undefined): string {
  const isReject = field(expression, "reject") !== undefined || field(field(expression, "xt"), "name") === "REJECT";
  return isReject ? "reject" : (verdict?.type ?? "continue");
}

/** Undefined: it is no verdict. */
function verdictOf(expression: unknown): Verdict | undefined {
  for (const type of ["accept", "drop", "return", "continue"] as const) {
    if (field(expression, type) === null) return { type };
  }
  if (field(expression, "reject") !== undefined) return { type: "drop" };
  for (const type of ["jump", "goto"] as const) {
    const target = field(field(expression, type), "target");
    if (target !== undefined) return { type, target: String(target) };
  }
  if (
    ["queue", "vmap", "tproxy", "synproxy", "dnat", "fwd", "dup"].some((name) => field(expression, name) !== undefined)
  ) {
    return { type: "unknown" };
  }
  const extension = field(expression, "xt");
  if (field(extension, "type") !== "target") return undefined;
  const name = String(field(extension, "name"));
  if (name === "REJECT") return { type: "drop" };
  return { type: ["NFQUEUE", "TPROXY", "SYNPROXY"].includes(name) ? "unknown" : "continue" };
}

/** What happens to the packet in one base chain. Chains that are jumped to are those of the same table. */
export function outcomeOf(chain: HookChain, packet: TestPacket, tables: HookTables): ChainOutcome {
  const chains = tables.get(tableKey(chain.family, chain.table, chain.isLegacy)) ?? new Map<string, HookChain>();
  const walk: Walk = { packet, chains, rulesLeft: MAX_RULES, isUncertain: false };
  const outcome = walkChain(chain, walk, 0);
  if (outcome !== undefined) return { ...outcome, isUncertain: walk.isUncertain };
  return { type: chain.dropsByPolicy ? "drop" : "none", isUncertain: walk.isUncertain };
}

interface Walk {
  readonly packet: TestPacket;
  readonly chains: ReadonlyMap<string, HookChain>;
  rulesLeft: number;
  isUncertain: boolean;
}

type Ended = Pick<ChainOutcome, "type" | "rule">;

/** Undefined when the chain ends without a verdict, or returns. */
function walkChain(chain: HookChain, walk: Walk, depth: number): Ended | undefined {
  for (const rule of chain.rules) {
    if (--walk.rulesLeft < 0 || depth > MAX_DEPTH) {
      walk.isUncertain = true;
      return undefined;
    }
    const answer = matchesAll(rule.matches, walk.packet);
    if (answer === false) continue;
    const ended = applyVerdict(rule, answer, walk, depth);
    if (ended === "return") return undefined;
    if (ended !== undefined) return ended;
  }
  return undefined;
}

function applyVerdict(rule: HookRule, answer: Answer, walk: Walk, depth: number): Ended | "return" | undefined {
  const { verdict } = rule;
  switch (verdict.type) {
    case "continue":
      return undefined;
    case "drop":
      // In doubt nothing is said.
      return answer === true ? { type: "drop", rule } : undefined;
    case "unknown":
      walk.isUncertain = true;
      return undefined;
    case "accept":
    case "return":
      if (answer === undefined) walk.isUncertain = true;
      else return verdict.type === "return" ? "return" : { type: "accept" };
      return undefined;
    case "jump":
    case "goto":
      return applyJump(verdict, answer, walk, depth);
  }
}

function applyJump(
  { type, target }: Extract<Verdict, { readonly target: string }>,
  answer: Answer,
  walk: Walk,
  depth: number,
): Ended | "return" | undefined {
  const chain = walk.chains.get(target);
  if (chain === undefined || answer === undefined) {
    // It may accept there, and what drops there drops only perhaps.
    walk.isUncertain = true;
    return undefined;
  }
  return walkChain(chain, walk, depth + 1) ?? (type === "goto" ? "return" : undefined);
}

/** Prefixes that rules name as sources or destinations, of both families, into `found`. A step is one rule. */
export function* collectNamedPrefixes(tables: HookTables, found: Set<Prefix>): Generator<void, void, undefined> {
  for (const chains of tables.values()) {
    for (const { rules } of chains.values()) {
      for (const { matches } of rules) {
        for (const expression of matches) collect(field(expression, "match"), found);
        yield;
      }
    }
  }
}

const MAX_NAMED = 10_000;

function collect(match: unknown, found: Set<Prefix>): void {
  const name = field(field(field(match, "left"), "payload"), "field");
  if (name !== "saddr" && name !== "daddr") return;
  const right = field(match, "right");
  const members = field(right, "set");
  for (const value of Array.isArray(members) ? members : [right]) {
    if (found.size >= MAX_NAMED) return;
    const prefix = prefixOf(value);
    if (prefix !== undefined) found.add(prefix);
  }
}

function prefixOf(value: unknown): Prefix | undefined {
  const prefix = field(value, "prefix");
  if (prefix !== undefined) return tryParsePrefix(`${String(field(prefix, "addr"))}/${String(field(prefix, "len"))}`);
  const address = tryParseAddress(String(value));
  if (address === undefined) return undefined;
  const family: Family = address.includes(":") ? 6 : 4;
  return tryParsePrefix(`${address}/${family === 4 ? 32 : 128}`);
}

/** Much like nft's own text, without what only counts. */
export function ruleText(matches: readonly unknown[], verdict: string): string {
  const parts = matches.map((expression) => field(expression, "match")).filter((match) => match !== undefined);
  return [...parts.map(matchText), verdict].join(" ");
}

function matchText(match: unknown): string {
  const left = field(match, "left");
  const payload = field(left, "payload");
  const key = field(field(left, "meta"), "key") ?? field(field(left, "ct"), "key");
  const what =
    payload === undefined
      ? String(key ?? "…")
      : `${String(field(payload, "protocol"))} ${String(field(payload, "field"))}`;
  const operator = field(match, "op") === "!=" ? " !=" : "";
  return `${what}${operator} ${valueText(field(match, "right"))}`;
}

function valueText(value: unknown): string {
  if (typeof value === "string" || typeof value === "number") return String(value);
  const prefix = field(value, "prefix");
  if (prefix !== undefined) return `${String(field(prefix, "addr"))}/${String(field(prefix, "len"))}`;
  return "…";
}
