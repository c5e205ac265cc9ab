// Through which device packets leave this host when the address they bear stands on one that leads nowhere: a loopback
// or dummy device, or any other that has the address as a /32 or /128 and no route. Pure.
import { type Address, addressBits, type Family, familyOf, prefixLength } from "../ip/address.ts";
import type { LinkMessage, RouteMessage } from "../netlink/rtnetlink/messages.ts";
import { routeTable, rtn } from "../netlink/uapi.ts";
import { hasOnlyHostPrefix } from "./interface-addresses.ts";
import type { InterfaceFacts, InterfaceOptions } from "./interface-facts.ts";

export interface WayOut {
  readonly link: LinkMessage;
  /** The route's own MTU, where it has one that is lower than the device's. */
  readonly mtuBytes: number;
}

/** Whether packets can leave through the device that has the address. */
export function leadsOut(address: Address, link: LinkMessage, facts: InterfaceFacts): boolean {
  if (isDeadEnd(link)) return false;
  if (!hasOnlyHostPrefix(address, link, facts)) return true;
  const bits = addressBits(familyOf(address));
  return facts.routes.some(
    (route) =>
      route.family === familyOf(address) &&
      route.type === rtn.unicast &&
      prefixLength(route.destination) < bits &&
      (route.outIndex === link.index || route.nextHops?.some(({ outIndex }) => outIndex === link.index) === true),
  );
}

/** The kernel throws away, or gives back to this host, whatever leaves through it. */
function isDeadEnd({ isLoopback, kind }: LinkMessage): boolean {
  return isLoopback || kind === "dummy";
}

/**
 * Where the route with the widest destination leaves that leads anywhere: the default route, or the route to most of the
 * other hosts where there is none. Of several next hops the first usable one counts, as for the default route.
 */
export function wayOut(
  family: Family,
  { overlayDevices = [] }: Pick<InterfaceOptions, "overlayDevices">,
  facts: InterfaceFacts,
): WayOut | undefined {
  const routes = facts.routes
    .filter((route) => route.family === family && route.table === routeTable.main && route.type === rtn.unicast)
    .toSorted((a, b) => prefixLength(a.destination) - prefixLength(b.destination));
  for (const route of routes) {
    const link = linkOfRoute(route, facts);
    if (link === undefined || isDeadEnd(link) || overlayDevices.includes(link.name)) continue;
    return { link, mtuBytes: Math.min(link.mtuBytes, route.mtuBytes ?? link.mtuBytes) };
  }
  return undefined;
}

/**
 * Of several next hops the first that can be used counts, whatever the weights are: the traffic to the other hosts has
 * one source address, which is of one interface.
 */
export function linkOfRoute(route: RouteMessage, facts: InterfaceFacts): LinkMessage | undefined {
  const linkOf = (index: number | undefined): LinkMessage | undefined =>
    facts.links.find((found) => found.index === index);
  const hops = (route.nextHops ?? []).map(({ outIndex, isUsable }) => ({ isUsable, link: linkOf(outIndex) }));
  const usable = hops.find(({ isUsable, link }) => isUsable && link?.isUp === true);
  // None works right now, as after a start without a cable: the first is as good as any.
  return linkOf(route.outIndex) ?? (usable ?? hops.find((hop) => hop.link !== undefined))?.link;
}
