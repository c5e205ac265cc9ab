// Reads what is ours out of the text of iptables-save. Pure.
import type { Family, Prefix } from "../ip/address.ts";
import { type ChainPlace, chainPlaces, jumpCommand, toolName } from "./iptables-text.ts";
import type { RuleNames } from "./rule-set.ts";

export interface FoundChain {
  readonly exists: boolean;
  /** What follows `-A CHAIN`, in order. */
  readonly specs: readonly string[];
  /** Rules that lead into our chain. */
  readonly jumps: readonly FoundJump[];
  /** Direct rules that flannel before v0.8 put into the built-in chain. */
  readonly leftovers: readonly FoundRule[];
}

/** A rule of ours in a built-in chain. */
export interface FoundRule {
  /** What follows `-A POSTROUTING`. */
  readonly spec: string;
  /** nft's number of the rule, where nft has read it: it is removed by this number. */
  readonly handle?: number;
}

export interface FoundJump extends FoundRule {
  /** Its place from 1 (see `isNotAccept`). */
  readonly position: number;
}

/** One table, as far as it is ours. */
export interface FoundTable {
  readonly chain: FoundChain;
  /** Policy DROP of FORWARD. */
  readonly dropsForwarded: boolean;
}

export interface IptablesFound {
  readonly lines: readonly string[];
  readonly dropsForwarded: boolean;
  readonly byTable: ReadonlyMap<ChainPlace["table"], FoundChain>;
}

/**
 * Whether the listing of one table tells all: iptables on nftables exits with 0 and a comment when it does not understand
 * a table, or base chains in it, that other programs wrote with nft.
 */
export function isCompleteListing(text: string): boolean {
  return !/^# Table `.*' (is incompatible|contains incompatible)/m.test(text);
}

/** Whether a listing that began also came to its end. */
export function isEndedListing(text: string): boolean {
  const count = (pattern: RegExp) => text.match(pattern)?.length ?? 0;
  return count(/^\*/gm) === count(/^COMMIT$/gm);
}

/** The text of one table that is listed completely. `network`: whose direct rules of old versions are looked for. */
export function readIptablesTable(text: string, place: ChainPlace, network: Prefix | undefined): FoundTable {
  const lines = splitTables(text).get(place.table) ?? [];
  return {
    chain: findChain(lines, place, network),
    dropsForwarded: place.table === "filter" && lines.some((line) => line.startsWith(":FORWARD DROP")),
  };
}

export function joinTables(
  tables: ReadonlyMap<ChainPlace["table"], FoundTable>,
  family: Family,
  names: RuleNames,
): IptablesFound {
  return {
    lines: chainPlaces(names).flatMap((place) => foundLines(place, tables.get(place.table)?.chain, family)),
    dropsForwarded: tables.get("filter")?.dropsForwarded === true,
    byTable: new Map([...tables].map(([table, { chain }]) => [table, chain])),
  };
}

/** `network`: whose direct rules of old versions are looked for; undefined: nobody's. */
export function readIptablesSave(
  text: string,
  family: Family,
  names: RuleNames,
  network: Prefix | undefined,
): IptablesFound {
  const tables = chainPlaces(names).map((place) => [place.table, readIptablesTable(text, place, network)] as const);
  return joinTables(new Map(tables), family, names);
}

/**
 * Number of rules in the listing that are not ours: tells where the other programs of a host keep theirs. A table that is
 * not listed has some.
 */
export function countForeignRules(text: string): number {
  const unlisted = isCompleteListing(text) ? 0 : 1;
  return unlisted + text.split("\n").filter((line) => line.startsWith("-A ") && !line.includes("FLANNEL-")).length;
}

function splitTables(text: string): ReadonlyMap<string, string[]> {
  const tables = new Map<string, string[]>();
  let current: string[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) {
      current = [];
      tables.set(line.slice(1), current);
    } else if (line.startsWith("-") || line.startsWith(":")) current.push(line);
  }
  return tables;
}

function findChain(lines: readonly string[], place: ChainPlace, network: Prefix | undefined): FoundChain {
  const leadIn = `-A ${place.builtIn} `;
  const inBuiltIn = lines.filter((line) => line.startsWith(leadIn)).map((line) => line.slice(leadIn.length));
  const own = `-A ${place.chain} `;
  const old = place.table === "nat" && network !== undefined ? seedRules(network) : [];
  return {
    exists: lines.some((line) => line.startsWith(`:${place.chain} `)),
    specs: lines.filter((line) => line.startsWith(own)).map((line) => line.slice(own.length)),
    jumps: inBuiltIn
      .map((spec, index) => ({ spec, position: 1 + inBuiltIn.slice(0, index).filter(isNotAccept).length }))
      .filter(({ spec }) => spec.endsWith(`-j ${place.chain}`)),
    leftovers: inBuiltIn.filter((spec) => old.includes(spec)).map((spec) => ({ spec })),
  };
}

/** Jumps of other agents on this host do ours no harm, whichever comes first: each accepts only its own. */
export function isNotAccept(spec: string): boolean {
  return !/-j FLANNEL-FWD(-[0-9a-f]+)?$/.test(spec);
}

/** The three rules that flannel up to v0.7 appended to POSTROUTING itself. */
export function seedRules(network: Prefix): string[] {
  return [
    `-s ${network} -d ${network} -j RETURN`,
    `-s ${network} ! -d 224.0.0.0/4 -j MASQUERADE`,
    `! -s ${network} -d ${network} -j MASQUERADE`,
  ];
}

function foundLines(place: ChainPlace, found: FoundChain | undefined, family: Family): string[] {
  if (found === undefined) return [];
  const command = `${toolName(family)} -t ${place.table}`;
  return [
    ...(found.exists ? [`${command} -N ${place.chain}`] : []),
    ...found.specs.map((spec) => `${command} -A ${place.chain} ${spec}`),
    ...found.jumps.map(({ spec, position }) => `${command} ${foundJumpCommand(place, position)} ${spec}`),
    ...found.leftovers.map(({ spec }) => `${command} -A ${place.builtIn} ${spec}`),
  ];
}

function foundJumpCommand(place: ChainPlace, position: number): string {
  if (!place.jumpsFirst || position === 1) return jumpCommand(place);
  return `-I ${place.builtIn} ${position}`;
}
