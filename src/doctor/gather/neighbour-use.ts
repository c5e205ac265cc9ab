// How full the kernel's tables of neighbours are. Tables and limit (gc_thresh3) are those of the whole machine, and the kernel tells how
// many entries there are in all. Those that are permanent, as flannel's, or that a program keeps up to date do not count against the
// limit: where there are many, the others are counted in each network namespace. In those that nobody shows this process, they are not.
import type { Family } from "../../ip/address.ts";
import { readNeighbourTables } from "../../netlink/rtnetlink/neighbour-tables.ts";
import { findTool, tryTool } from "../../sys/run-tool.ts";
import type { TableFacts } from "../host-facts.ts";
import { foundNamespaces } from "./containers.ts";

/** Of the limit. */
const EXACT_FROM = 0.8;
const AT_ONCE = 8;
const MAX_NAMESPACES = 400;

/** `exactFrom`: the share of the limit from which on they are counted one by one. Throws the kernel's refusal. */
export async function readNeighbourUse(
  limitMs: number,
  exactFrom = EXACT_FROM,
): Promise<NonNullable<TableFacts["neighbours"]>> {
  const found: { family: Family; used: number; max: number }[] = [];
  for (const { family, entries, max } of readNeighbourTables()) {
    const used = entries < max * exactFrom ? entries : await countEntries(family, limitMs);
    found.push({ family, used, max });
  }
  return found;
}

/** Those that count. */
async function countEntries(family: Family, limitMs: number): Promise<number> {
  const [nsenter, ip] = [findTool("nsenter"), findTool("ip")];
  if (ip === undefined) return 0;
  const listing = [`-${family}`, "neigh", "show", "nud", "all"];
  const others = nsenter === undefined ? [] : foundNamespaces(MAX_NAMESPACES).entries;
  const lists = [
    () => tryTool(ip, listing, "", limitMs),
    ...others.map(
      ({ path }) =>
        () =>
          tryTool(nsenter ?? "", [`--net=${path}`, ip, ...listing], "", limitMs),
    ),
  ];
  let count = 0;
  for (let first = 0; first < lists.length; first += AT_ONCE) {
    const texts = await Promise.all(lists.slice(first, first + AT_ONCE).map((list) => list()));
    for (const { stdout } of texts) count += stdout.match(/^(?!.* (?:PERMANENT|extern_learn)\b).+$/gm)?.length ?? 0;
  }
  return count;
}
