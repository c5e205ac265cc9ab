// What has to change in a route table of a cloud so that it leads to this host and nowhere wrong. Pure.
import { type Prefix, prefixLength } from "../ip/address.ts";
import { containsPrefix, isInside } from "../ip/prefix.ts";
import type { CloudRoute } from "./cloud-routes.ts";

export interface RouteWish {
  /** The whole network: nothing outside of it is ever touched. */
  readonly network: Prefix;
  /** This host's. */
  readonly subnet: Prefix;
  /** Subnets that other leases hold. */
  readonly others: readonly Prefix[];
  /** False while more leases may exist than are known. */
  readonly isComplete: boolean;
}

export interface RouteChanges {
  /** Whether packets for the subnet are led to this host. */
  readonly isInPlace: boolean;
  /** What leads them elsewhere and is to be replaced; undefined: there is nothing at its place. */
  readonly wrong?: CloudRoute;
  /** Black holes that lost hosts left, and routes to this host for subnets that it had before. */
  readonly remove: readonly CloudRoute[];
  /** Routes of others that take packets of this subnet away, which nobody but their owner may change. */
  readonly foreign: readonly CloudRoute[];
}

export function planRoutes(routes: readonly CloudRoute[], target: string, wish: RouteWish): RouteChanges {
  const { network, subnet } = wish;
  const exact = routes.filter(({ destination }) => destination === subnet);
  const ours = exact.find((route) => route.target === target && route.state === "active");
  const elsewhere = exact.filter((route) => route !== ours);
  const [wrong, ...surplus] = elsewhere.filter(({ isManaged }) => isManaged);
  const inside = routes.filter(
    ({ destination, isManaged }) => isManaged && destination !== subnet && containsPrefix(network, destination),
  );
  const isLeft = (route: CloudRoute) => route.state === "blackhole" || isEarlierOfOurs(route, target, wish);
  return {
    isInPlace: ours !== undefined,
    ...(ours === undefined && wrong !== undefined && { wrong }),
    remove: [
      ...inside.filter(isLeft),
      // Beside the right one they share its packets.
      ...(ours !== undefined && wrong !== undefined ? [wrong] : []),
      ...surplus,
    ],
    foreign: [
      ...elsewhere.filter(({ isManaged, state }) => !isManaged && state === "active"),
      ...routes.filter(
        (route) =>
          route.destination !== subnet &&
          isInside(route.destination, [subnet]) &&
          route.target !== target &&
          // A black hole in it goes, unless it is not ours to remove.
          (route.state !== "blackhole" || !route.isManaged),
      ),
    ],
  };
}

/** Of the form of a lease's subnet, and nobody else's now. */
function isEarlierOfOurs({ destination, target: leadsTo }: CloudRoute, target: string, wish: RouteWish): boolean {
  return (
    wish.isComplete &&
    leadsTo === target &&
    prefixLength(destination) === prefixLength(wish.subnet) &&
    !wish.others.includes(destination)
  );
}
