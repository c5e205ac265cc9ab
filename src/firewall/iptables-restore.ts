// The input of iptables-restore --noflush that makes what was found into what is wanted. Pure.
import type { Family } from "../ip/address.ts";
import type { FoundChain, FoundRule, IptablesFound } from "./iptables-save.ts";
import { type ChainPlace, chainPlaces, jumpCommand, jumpSpec, ruleSpecs } from "./iptables-text.ts";
import { nftFamily } from "./nft-text.ts";
import type { FamilyRules, RuleNames } from "./rule-set.ts";

/**
 * One block for each table that has to change, each one transaction. Declaring a chain empties it in the same
 * transaction that fills it. Foreign rules are never named by number: between reading and writing they may have moved;
 * a rule that is gone by then makes the tool refuse the whole, and nothing changes.
 */
export function restoreInput(
  rules: FamilyRules | undefined,
  found: IptablesFound,
  names: RuleNames,
  hasNodeSet: boolean,
): string {
  const blocks = chainPlaces(names).map((place) => {
    const present = found.byTable.get(place.table);
    const wanted = rules !== undefined && place.rulesOf(rules) !== undefined;
    const specs = wanted ? ruleSpecs(place, rules, names, hasNodeSet) : undefined;
    return tableBlock(place, specs, present);
  });
  return blocks.join("");
}

function tableBlock(place: ChainPlace, specs: readonly string[] | undefined, found: FoundChain | undefined): string {
  const lines = specs === undefined ? removalLines(place, found) : wantedLines(place, specs, found);
  if (lines.length === 0) return "";
  return [`*${place.table}`, ...lines, "COMMIT"].map((line) => `${line}\n`).join("");
}

function wantedLines(place: ChainPlace, specs: readonly string[], found: FoundChain | undefined): string[] {
  const isFilled = found?.exists === true && found.specs.join("\n") === specs.join("\n");
  const isReached = isJumpRight(place, found);
  const fill = isFilled ? [] : [`:${place.chain} - [0:0]`, ...specs.map((spec) => `-A ${place.chain} ${spec}`)];
  const jumps = isReached ? [] : [...remove(place, found?.jumps), `${jumpCommand(place)} ${jumpSpec(place)}`];
  return [...fill, ...jumps, ...remove(place, found?.leftovers)];
}

/** Jumps first, then the chain. */
function removalLines(place: ChainPlace, found: FoundChain | undefined): string[] {
  if (found === undefined) return [];
  return [
    ...remove(place, found.jumps),
    ...remove(place, found.leftovers),
    ...(found.exists ? [`-F ${place.chain}`, `-X ${place.chain}`] : []),
  ];
}

function isJumpRight(place: ChainPlace, found: FoundChain | undefined): boolean {
  const [jump, ...others] = found?.jumps ?? [];
  if (jump === undefined || others.length > 0 || jump.spec !== jumpSpec(place)) return false;
  return !place.jumpsFirst || jump.position === 1;
}

/** Those with a handle are nft's to remove: `removedByHandle`. */
function remove({ builtIn }: ChainPlace, rules: readonly FoundRule[] = []): string[] {
  return rules.filter(({ handle }) => handle === undefined).map(({ spec }) => `-D ${builtIn} ${spec}`);
}

/** Commands of nft that remove what has a handle: `before` the input is loaded, since the chain goes, or `after` it. */
export interface RemovedByHandle {
  readonly before: readonly string[];
  readonly after: readonly string[];
}

export function removedByHandle(
  rules: FamilyRules | undefined,
  found: IptablesFound,
  names: RuleNames,
  family: Family,
): RemovedByHandle {
  const [before, after]: [string[], string[]] = [[], []];
  for (const place of chainPlaces(names)) {
    const present = found.byTable.get(place.table);
    const isWanted = rules !== undefined && place.rulesOf(rules) !== undefined;
    const jumps = isWanted && isJumpRight(place, present) ? [] : (present?.jumps ?? []);
    for (const { handle } of [...jumps, ...(present?.leftovers ?? [])]) {
      if (handle === undefined) continue;
      const chain = `${nftFamily(family)} ${place.table} ${place.builtIn}`;
      (isWanted ? after : before).push(`delete rule ${chain} handle ${handle}`);
    }
  }
  return { before, after };
}
