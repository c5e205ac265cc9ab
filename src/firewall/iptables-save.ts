// Reads what is ours out of the text of iptables-save. Pure.
import type { Family, Prefix } from "../ip/address.ts";
import { type ChainPlace, chainPlaces, jumpCommand, toolName } from "./iptables-text.ts";
import type { RuleNames } from "./rule-set.ts";

export interface FoundChain {
  readonly exists: boolean;
  /** What follows `-A CHAIN`, in order. */
  readonly specs: readonly string[];
  /** What follows `-A FORWARD` in rules that lead into our chain, with their places from 1 (see `isNotAccept`). */
  readonly jumps: readonly { readonly spec: string; readonly position: number }[];
  /** The same of direct rules that flannel before v0.8 put into the built-in chain. */
  readonly leftovers: readonly string[];
}

export interface IptablesFound {
  readonly lines: readonly string[];
  readonly dropsForwarded: boolean;
  readonly byTable: ReadonlyMap<ChainPlace["table"], FoundChain>;
}

/** `network`: whose direct rules of old versions are looked for; undefined: nobody's. */
export function readIptablesSave(
  text: string,
  family: Family,
  names: RuleNames,
  network: Prefix | undefined,
): IptablesFound {
  const tables = splitTables(text);
  const byTable = new Map(
    chainPlaces(names).map((place) => [place.table, findChain(tables.get(place.table) ?? [], place, network)] as const),
  );
  return {
    lines: chainPlaces(names).flatMap((place) => foundLines(place, byTable.get(place.table), family)),
    dropsForwarded: (tables.get("filter") ?? []).some((line) => line.startsWith(":FORWARD DROP")),
    byTable,
  };
}

/** Number of rules in the listing that are not ours: tells where the other programs of a host keep theirs. */
export function countForeignRules(text: string): number {
  return text.split("\n").filter((line) => line.startsWith("-A ") && !line.includes("FLANNEL-")).length;
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
    leftovers: inBuiltIn.filter((spec) => old.includes(spec)),
  };
}

/** Jumps of other agents on this host do ours no harm, whichever comes first: each accepts only its own. */
function isNotAccept(spec: string): boolean {
  return !/-j FLANNEL-FWD(-[0-9a-f]+)?$/.test(spec);
}

/** The three rules that flannel up to v0.7 appended to POSTROUTING itself. */
function seedRules(network: Prefix): string[] {
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
    ...found.leftovers.map((spec) => `${command} -A ${place.builtIn} ${spec}`),
  ];
}

function foundJumpCommand(place: ChainPlace, position: number): string {
  if (!place.jumpsFirst || position === 1) return jumpCommand(place);
  return `-I ${place.builtIn} ${position}`;
}
