// Which way the packets of each peer are to take, from what is planned and programmed: what the kernel is then asked about.
import type { BackendPlan } from "../../backend/backend.ts";
import type { PlannedWay } from "../../doctor/peer-ways.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import { containsPrefix } from "../../ip/prefix.ts";
import type { Lease } from "../../lease/lease.ts";

/**
 * One entry for each planned peer and family. A route that could not be programmed has none, unless its next hop is the
 * peer's own host: the kernel can tell why it is none.
 */
export function plannedWays(
  { state, skipped }: BackendPlan,
  peers: readonly Lease[],
  isProgrammed: (route: HostRoute) => boolean,
): PlannedWay[] {
  const routes = new Map((state.route ?? []).map((route) => [route.destination, route]));
  // Backends whose tunnel takes the whole network have few routes; of others every subnet has its own.
  const wide = routes.size <= 2 ? [...routes.values()] : [];
  const unused = new Set(skipped.map(({ key }) => key));
  const ways: PlannedWay[] = [];
  for (const { key, subnet, ipv6Subnet, attributes } of peers) {
    if (unused.has(key)) continue;
    const { publicIp, publicIpv6 } = attributes;
    for (const [leased, address] of [
      [subnet, publicIp],
      [ipv6Subnet, publicIpv6],
    ] as const) {
      if (leased === undefined) continue;
      const route = routes.get(leased) ?? wide.find(({ destination }) => containsPrefix(destination, leased));
      if (route === undefined) continue;
      const isDirect = route.gateway !== undefined && !route.onLink;
      const isInPlace = isProgrammed(route);
      if (!isInPlace && !isDirect) continue;
      ways.push({
        peer: key,
        subnet: leased,
        device: route.device,
        ...(isDirect && route.gateway !== undefined && { gateway: route.gateway }),
        ...(address !== undefined && { publicIp: address }),
        isInPlace,
      });
    }
  }
  return ways;
}
