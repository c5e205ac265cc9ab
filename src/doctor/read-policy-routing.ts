// Reads the policy rules of this host, and the tables that rules of others lead to, of which most hosts have none.
import type { Prefix } from "../ip/address.ts";
import { overlaps } from "../ip/prefix.ts";
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
  const mainWays = new Set((await netlink.dump("route", { table: routeTable.main })).map(wayOf));
  for (const table of targets) {
    const routes = await netlink.dumpAs("route", { table }, (route): TableRoute | undefined => {
      const { destination, type, outIndex, gateway } = route;
      if (!networks.some((network) => overlaps(network, destination))) return undefined;
      const device = names.get(outIndex ?? 0);
      return {
        destination,
        type,
        ...(device === undefined ? {} : { device }),
        ...(gateway === undefined ? {} : { gateway }),
        isInMain: mainWays.has(wayOf(route)),
      };
    });
    tables.set(table, routes);
  }
  return { rules, tables };
}

/** Equal for routes that send the same packets the same way. */
function wayOf({ destination, type, outIndex, gateway, nextHops = [] }: RouteMessage): string {
  const hops = nextHops.map((hop) => `${hop.outIndex} ${hop.gateway}`);
  return [destination, type, outIndex, gateway, ...hops].join(" ");
}
