// Reads the policy rules of this host, and the tables that rules of others lead to, of which most hosts have none.
import type { Prefix } from "../ip/address.ts";
import type { RouteMessage } from "../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { routeTable } from "../netlink/uapi.ts";
import { isSystemTable, type PolicyRouting, type TableRoute } from "./policy-rules.ts";

/** Only routes that overlap `networks`; devices by `names`, of all links by index. */
export async function readPolicyRouting(
  netlink: Rtnetlink,
  networks: readonly Prefix[],
  names: ReadonlyMap<number, string>,
): Promise<PolicyRouting> {
  const rules = await netlink.dump("rule");
  const tables = new Map<number, readonly TableRoute[]>();
  const targets = new Set(rules.map(({ table }) => table).filter((table) => table !== 0 && !isSystemTable(table)));
  if (targets.size === 0) return { rules, tables };
  // One listing, however many tables: the kernel goes through all routes for each.
  const ways = new Map<number, { route: Omit<TableRoute, "isInMain">; way: string }[]>();
  const mainWays = new Set<string>();
  await netlink.dumpAs("route", { overlapping: networks }, (route): undefined => {
    const { destination, type, outIndex, gateway, table } = route;
    if (table === routeTable.main) mainWays.add(wayOf(route));
    if (!targets.has(table)) return;
    const device = names.get(outIndex ?? 0);
    const found = ways.get(table) ?? [];
    ways.set(table, found);
    found.push({
      route: { destination, type, ...(device !== undefined && { device }), ...(gateway !== undefined && { gateway }) },
      way: wayOf(route),
    });
  });
  for (const [table, found] of ways) {
    tables.set(
      table,
      found.map(({ route, way }) => ({ ...route, isInMain: mainWays.has(way) })),
    );
  }
  return { rules, tables };
}

/** Equal for routes that send the same packets the same way. */
function wayOf({ destination, type, outIndex, gateway, nextHops = [] }: RouteMessage): string {
  const hops = nextHops.map((hop) => `${hop.outIndex} ${hop.gateway}`);
  return [destination, type, outIndex, gateway, ...hops].join(" ");
}
