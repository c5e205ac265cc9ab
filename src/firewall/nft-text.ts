// Rules as nft commands: what is wanted line by line, and the one transaction that makes it so. Pure.
import type { Address, Family } from "../ip/address.ts";
import type { FamilyRules, PrefixMatch, Rule, RuleNames } from "./rule-set.ts";

type NftFamily = "ip" | "ip6";

export function nftFamily(family: Family): NftFamily {
  return family === 4 ? "ip" : "ip6";
}

/** Chain names and hooks as flannel's. */
export const nftChains = {
  postrtg: {
    declaration: "type nat hook postrouting priority 100 ; policy accept ;",
    comment: "chain to manage traffic masquerading by flannel",
    rulesOf: (rules: FamilyRules) => rules.masquerade,
  },
  forward: {
    declaration: "type filter hook forward priority 0 ; policy accept ;",
    comment: "chain to accept flannel traffic",
    rulesOf: (rules: FamilyRules) => rules.forward,
  },
  clamp: {
    declaration: "type filter hook forward priority -150 ; policy accept ;",
    comment: "chain to fit TCP to the paths of flannel traffic",
    rulesOf: (rules: FamilyRules) => rules.clamp,
  },
} as const;
type ChainName = keyof typeof nftChains;
const chainNames: readonly ChainName[] = ["postrtg", "forward", "clamp"];
/** Of a TCP connection that begins, in both directions; `rt mtu` is the smaller one of the routes there and back. */
const CLAMP = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu";

export const nodeSetName = "nodes";

/** One line for each object, in the order of creation; empty when nothing is wanted. */
export function nftLines(rules: FamilyRules | undefined, names: RuleNames): string[] {
  const chains = wantedChains(rules);
  if (rules === undefined || chains.length === 0) return [];
  const table = tableOf(rules.family, names);
  return [
    `add table ${table}`,
    ...nodeSetLines(rules, table),
    ...chains.map((chain) => chainLine(table, chain, nftChains[chain].declaration)),
    ...chains.flatMap((chain) => ruleLines(rules, chain, table)),
  ];
}

export function chainLine(table: string, chain: string, declaration: string): string {
  return `add chain ${table} ${chain} { ${declaration} }`;
}

export function setLine(table: string, set: string, type: string): string {
  return `add set ${table} ${set} { type ${type} ; }`;
}

export function elementLine(table: string, set: string, element: string): string {
  return `add element ${table} ${set} { ${element} }`;
}

export function ruleLine(table: string, chain: string, rule: string): string {
  return `add rule ${table} ${chain} ${rule}`;
}

/** `ip flannel-ipv4` */
export function tableOf(family: Family, names: RuleNames): string {
  return `${nftFamily(family)} ${names.table(family)}`;
}

function nftRuleText(rule: Rule, family: Family): string {
  const protocol = nftFamily(family);
  const { mark, source, destination, verdict } = rule;
  return [
    ...(mark === undefined ? [] : [`meta mark & ${hex(mark)} == ${hex(mark)}`]),
    ...(source === undefined ? [] : [`${protocol} saddr ${matchText(source)}`]),
    ...(destination === undefined ? [] : [`${protocol} daddr ${destinationText(destination)}`]),
    verdict === "masquerade-random" ? "masquerade fully-random" : verdict === "clamp-mss" ? CLAMP : verdict,
  ].join(" ");
}

function destinationText(destination: PrefixMatch | "nodes"): string {
  return destination === "nodes" ? `@${nodeSetName}` : matchText(destination);
}

function matchText({ prefix, isNegated }: PrefixMatch): string {
  return `${isNegated ? "!= " : ""}${bareHost(prefix)}`;
}

/** nft leaves out the length of a single host. */
function bareHost(prefix: string): string {
  return prefix.replace(prefix.includes(":") ? /\/128$/ : /\/32$/, "");
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function wantedChains(rules: FamilyRules | undefined): ChainName[] {
  return chainNames.filter((chain) => rules !== undefined && nftChains[chain].rulesOf(rules) !== undefined);
}

function nodeSetLines({ family, nodes }: FamilyRules, table: string): string[] {
  if (nodes === undefined) return [];
  const type = family === 4 ? "ipv4_addr" : "ipv6_addr";
  return [setLine(table, nodeSetName, type), ...nodes.map((node) => elementLine(table, nodeSetName, node))];
}

function ruleLines(rules: FamilyRules, chain: ChainName, table: string): string[] {
  const { family } = rules;
  return (nftChains[chain].rulesOf(rules) ?? []).map((rule) => ruleLine(table, chain, nftRuleText(rule, family)));
}

/** What of ours stands in a table. */
export interface NftFound {
  readonly lines: readonly string[];
  readonly hasTable: boolean;
  readonly chains: readonly string[];
  readonly sets: readonly string[];
  /** Members of the node set. */
  readonly nodes: readonly Address[];
  /** Something in it cannot be changed in place: a chain with another hook, objects that are not ours. */
  readonly isForeign: boolean;
}

/**
 * One transaction from `found` to `rules`. Chains are flushed and filled in place: a packet is judged by all old rules
 * or all new ones. (A chain that is deleted and recreated in one transaction leaves a gap of its own: while the kernel
 * goes over to the new generation, one packet can meet the new chain still empty and the old one already.)
 */
export function nftScript(rules: FamilyRules | undefined, found: NftFound, family: Family, names: RuleNames): string {
  const table = tableOf(family, names);
  const chains = wantedChains(rules);
  if (rules === undefined || chains.length === 0) return `delete table ${table}\n`;
  const elements = nodeChanges(rules, found, table, names);
  if (elements !== undefined) return text(elements);
  const stays = found.hasTable && !found.isForeign;
  const surplus = stays ? found.chains.filter((chain) => !chains.some((wanted) => wanted === chain)) : [];
  const removesSet = stays && rules.nodes === undefined && found.sets.includes(nodeSetName);
  return text([
    ...(found.isForeign ? [`delete table ${table}`] : []),
    `add table ${table} { comment "rules for ${names.table(family)}" ; }`,
    ...nodeSetScript(rules, table),
    ...chains.flatMap((chain) => [
      chainLine(table, chain, `${nftChains[chain].declaration} comment "${nftChains[chain].comment}" ;`),
      `flush chain ${table} ${chain}`,
      ...ruleLines(rules, chain, table),
    ]),
    ...surplus.flatMap((chain) => [`flush chain ${table} ${chain}`, `delete chain ${table} ${chain}`]),
    ...(removesSet ? [`delete set ${table} ${nodeSetName}`] : []),
  ]);
}

function nodeSetScript(rules: FamilyRules, table: string): string[] {
  const [declaration, ...elements] = nodeSetLines(rules, table);
  return declaration === undefined ? [] : [declaration, `flush set ${table} ${nodeSetName}`, ...elements];
}

/** Where only members of the set differ, just these; undefined when more differs. */
function nodeChanges(rules: FamilyRules, found: NftFound, table: string, names: RuleNames): string[] | undefined {
  if (rules.nodes === undefined || !found.sets.includes(nodeSetName)) return undefined;
  const isElement = (line: string) => line.startsWith("add element ");
  const rest = (lines: readonly string[]) => lines.filter((line) => !isElement(line)).join("\n");
  if (rest(nftLines(rules, names)) !== rest(found.lines)) return undefined;
  const [wanted, present] = [new Set(rules.nodes), new Set(found.nodes)];
  return [
    ...rules.nodes.filter((node) => !present.has(node)).map((node) => elementLine(table, nodeSetName, node)),
    ...found.nodes
      .filter((node) => !wanted.has(node))
      .map((node) => `delete element ${table} ${nodeSetName} { ${node} }`),
  ];
}

/** For kernels and tools that know no comments on tables and chains. */
export function withoutComments(script: string): string {
  return script.replaceAll(/ comment "[^"]*" ;/g, "").replaceAll(" { }", "");
}

function text(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}
