// How full the kernel's tables of neighbours are. Tables and limit (gc_thresh3) are those of the whole machine, and the kernel tells how
// many entries there are in all. Those that are permanent, as flannel's, or that a program keeps up to date do not count against the
// limit: where there may be many others, these are counted in each network namespace. In those that nobody shows this process, they are not.
import { hasCode } from "../../errors.ts";
import type { Family } from "../../ip/address.ts";
import {
  countOwnNeighbours,
  type NeighbourTable,
  type OwnNeighbours,
  readNeighbourTables,
} from "../../netlink/rtnetlink/neighbour-tables.ts";
import { tryTool } from "../../sys/run-tool.ts";
import type { NeighbourUse } from "../host-facts.ts";
import { foundNamespaces, needTool } from "./containers.ts";

/** Of the limit. */
const EXACT_FROM = 0.8;
const AT_ONCE = 8;
const MAX_NAMESPACES = 400;
const READ_ATTEMPTS = 8;

/**
 * `limitMs`: of it all. `exactFrom`: the share of the limit from which on they are counted one by one. Throws the kernel's refusal, and
 * where other network namespaces have to be looked into and it cannot be done, or not in time.
 */
export async function readNeighbourUse(limitMs: number, exactFrom = EXACT_FROM): Promise<readonly NeighbourUse[]> {
  const deadlineMs = performance.now() + limitMs;
  const tables = readNeighbourTables();
  const isFull = (entries: number, { max }: NeighbourTable) => entries >= max * exactFrom;
  if (!tables.some((table) => isFull(table.entries, table))) {
    return tables.map(({ family, entries, max }) => ({ family, used: entries, max }));
  }
  // Those of a large network are all here.
  const own = countOwn();
  const ownOf = (family: Family) => own.get(family) ?? { counted: 0, exempt: 0 };
  const restOf = ({ family, entries }: NeighbourTable) => Math.max(0, entries - ownOf(family).exempt);
  const full = tables.filter((table) => isFull(restOf(table), table));
  const elsewhere = full.length === 0 ? new Map<Family, number>() : await countElsewhere(deadlineMs, limitMs);
  return tables.map((table) => {
    const { family, max } = table;
    const used = full.includes(table) ? ownOf(family).counted + (elsewhere.get(family) ?? 0) : restOf(table);
    return { family, used, max };
  });
}

/** Neighbours change all the time. */
function countOwn(): ReadonlyMap<Family, OwnNeighbours> {
  for (let attempt = 1; ; attempt++) {
    try {
      return countOwnNeighbours();
    } catch (error) {
      if (attempt === READ_ATTEMPTS || !hasCode(error, "KERNEL_BUSY")) throw error;
    }
  }
}

/** Those that count, in all other network namespaces. */
async function countElsewhere(deadlineMs: number, limitMs: number): Promise<ReadonlyMap<Family, number>> {
  const counts = new Map<Family, number>();
  const { entries } = foundNamespaces(MAX_NAMESPACES);
  if (entries.length === 0) return counts;
  const [nsenter, ip] = [needTool("nsenter"), needTool("ip")];
  for (let first = 0; first < entries.length; first += AT_ONCE) {
    const restMs = deadlineMs - performance.now();
    if (restMs <= 0) {
      throw new Error(
        `the neighbours of ${entries.length} network namespaces were not counted within ${limitMs / 1_000} s`,
      );
    }
    const slice = entries.slice(first, first + AT_ONCE);
    const texts = await Promise.all(
      slice.map(({ path }) => tryTool(nsenter, [`--net=${path}`, ip, "neigh", "show", "nud", "all"], "", restMs)),
    );
    for (const { stdout } of texts) addCounts(stdout, counts);
  }
  return counts;
}

function addCounts(listing: string, counts: Map<Family, number>): void {
  for (const [address] of listing.matchAll(/^(?!.* (?:PERMANENT|extern_learn)\b)\S+/gm)) {
    const family = address.includes(":") ? 6 : 4;
    counts.set(family, (counts.get(family) ?? 0) + 1);
  }
}
