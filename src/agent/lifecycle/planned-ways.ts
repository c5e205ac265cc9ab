// Which way the packets of each peer are to take, from what is planned and programmed: what the kernel is then asked about.
import type { BackendPlan } from "../../backend/backend.ts";
import type { PlannedWay } from "../../doctor/peer-ways.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import type { Prefix } from "../../ip/address.ts";
import { containsPrefix } from "../../ip/prefix.ts";
import { type Lease, prefixesOf } from "../../lease/lease.ts";
import { listChanges } from "../../list-changes.ts";

type IsProgrammed = (route: HostRoute) => boolean;

interface Planned {
  readonly peers: readonly Lease[];
  readonly routes: readonly HostRoute[];
  /** In the order of the peers. */
  readonly ways: readonly PlannedWay[];
  readonly waysPerPeer: number;
  readonly byDestination: Map<Prefix, HostRoute>;
}

/** The ways of all peers as planned now. What did not change keeps its object, and a few changes cost no look at all peers. */
export class PlannedWays {
  /** Of the last plan, if every peer was served by routes of its own and all was in place. */
  #last: Planned | undefined;

  /**
   * One entry for each planned peer and family. A route that could not be programmed has none, unless its next hop is the
   * peer's own host: the kernel can tell why it is none. `areAllProgrammed`: nothing that is planned is missing.
   */
  of(
    plan: BackendPlan,
    peers: readonly Lease[],
    isProgrammed: IsProgrammed,
    areAllProgrammed: boolean,
  ): readonly PlannedWay[] {
    const routes = plan.state.route ?? [];
    const isPlain = areAllProgrammed && plan.skipped.length === 0;
    const last = isPlain ? this.#last : undefined;
    this.#last = undefined;
    const byDestination = last === undefined ? undefined : followRoutes(last, routes, peers);
    const ways =
      last === undefined || byDestination === undefined
        ? plannedWays(plan, peers, isProgrammed)
        : followPeers(last, peers, (lease) => waysOf(lease, byDestination, [], isProgrammed));
    const waysPerPeer = ways.length / peers.length;
    const isEven = ways.every(({ peer }, index) => peer === peers[Math.floor(index / waysPerPeer)]?.key);
    const areOwn = byDestination !== undefined || hasOwnRoutes(peers, routesByDestination(routes));
    const isWhole = isPlain && isEven && routes.length === ways.length && Number.isInteger(waysPerPeer);
    if (isWhole && areOwn) {
      this.#last = { peers, routes, ways, waysPerPeer, byDestination: byDestination ?? routesByDestination(routes) };
    }
    return ways;
  }
}

/** The routes as they are now; undefined when one changed whose peer did not. */
function followRoutes(
  last: Planned,
  routes: readonly HostRoute[],
  peers: readonly Lease[],
): Map<Prefix, HostRoute> | undefined {
  const changed = new Set<Prefix | undefined>();
  for (const { start, endBefore, startAfter, endAfter } of listChanges(last.peers, peers)) {
    for (const { subnet, ipv6Subnet } of [
      ...last.peers.slice(start, endBefore),
      ...peers.slice(startAfter, endAfter),
    ]) {
      changed.add(subnet).add(ipv6Subnet);
    }
  }
  const { byDestination } = last;
  const changes = listChanges(last.routes, routes);
  for (const { start, endBefore } of changes) {
    for (const { destination } of last.routes.slice(start, endBefore)) {
      if (!changed.has(destination)) return undefined;
      byDestination.delete(destination);
    }
  }
  for (const { startAfter, endAfter } of changes) {
    for (const route of routes.slice(startAfter, endAfter)) {
      if (!changed.has(route.destination)) return undefined;
      byDestination.set(route.destination, route);
    }
  }
  return byDestination;
}

function followPeers(
  last: Planned,
  peers: readonly Lease[],
  waysOf: (lease: Lease) => readonly PlannedWay[],
): readonly PlannedWay[] {
  const parts: (readonly PlannedWay[])[] = [];
  let end = 0;
  for (const { start, endBefore, startAfter, endAfter } of listChanges(last.peers, peers)) {
    parts.push(
      last.ways.slice(end * last.waysPerPeer, start * last.waysPerPeer),
      peers.slice(startAfter, endAfter).flatMap(waysOf),
    );
    end = endBefore;
  }
  parts.push(last.ways.slice(end * last.waysPerPeer));
  return parts.flat();
}

function plannedWays(
  { state, skipped }: BackendPlan,
  peers: readonly Lease[],
  isProgrammed: IsProgrammed,
): PlannedWay[] {
  const routes = routesByDestination(state.route ?? []);
  // Backends whose tunnel takes the whole network have few routes for it; of others every subnet has its own.
  const wide = hasOwnRoutes(peers, routes) ? [] : [...routes.values()];
  const unused = new Set(skipped.map(({ key }) => key));
  return peers.filter(({ key }) => !unused.has(key)).flatMap((lease) => waysOf(lease, routes, wide, isProgrammed));
}

function routesByDestination(routes: readonly HostRoute[]): Map<Prefix, HostRoute> {
  return new Map(routes.map((route) => [route.destination, route]));
}

function waysOf(
  { key, subnet, ipv6Subnet, attributes: { publicIp, publicIpv6, backendType } }: Lease,
  routes: ReadonlyMap<Prefix, HostRoute>,
  wide: readonly HostRoute[],
  isProgrammed: IsProgrammed,
): readonly PlannedWay[] {
  const ways: PlannedWay[] = [];
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
      ...(backendType !== undefined && { backendType }),
      isInPlace,
    });
  }
  return ways;
}

function hasOwnRoutes(peers: readonly Lease[], routes: ReadonlyMap<Prefix, HostRoute>): boolean {
  return peers.some((lease) => prefixesOf(lease).some((prefix) => routes.has(prefix)));
}
