// Unicast routes of the network's table, usually the main one: those on devices of ours, and those to our networks on others.
import type { Address } from "../../ip/address.ts";
import { isInside, overlaps } from "../../ip/prefix.ts";
import { FLANNEL_PROTOCOL, type NextHopMessage, type RouteMessage } from "../../netlink/rtnetlink/messages.ts";
import { routeProtocol, rtn } from "../../netlink/uapi.ts";
import { type Change, type Deviation, type Host, type Kind, lookAt, type Reader, type Watch } from "./kind.ts";
import { ownDeviceName, tableOf, tablesOf } from "./links.ts";
import { neighbourKey, neighbourKind } from "./neighbour.ts";
import { isNextHopLost, NextHops, removeUnusedNextHops } from "./next-hop.ts";
import {
  connectedRefusal,
  defaultMetric,
  type HostRoute,
  isConnected,
  isRouteSatisfied,
  type ObservedRoute,
  observedRouteKey,
  observedRouteLine,
  routeLine,
} from "./route-form.ts";
import { programRoutes } from "./route-programmer.ts";
import { routeTables } from "./route-tables.ts";

export const routeKind: Kind<"route", HostRoute, ObservedRoute> = {
  name: "route",
  key: ({ destination }) => destination,
  observedKey: observedRouteKey,
  // The kernel takes several routes to one destination (NLM_F_APPEND): the first is used, our others are surplus.
  // Listed twice while the table changed, it is one all the same.
  surplusKey: (route, first) => {
    const isSame = route.gateway === first.gateway && route.device === first.device;
    return route.isOurs && !isSame ? `${observedRouteKey(route)} via ${route.gateway} dev ${route.device}` : undefined;
  },
  compare: (desired, observed, ownDevices) => {
    if (isRouteSatisfied(desired, observed, ownDevices)) return "same";
    return isConnected(observed, ownDevices) ? { refusal: connectedRefusal(observed) } : "replace";
  },
  isRemovable: ({ isOurs }) => isOurs,
  leadsTo: ({ destination }, prefixes) => prefixes.some((prefix) => overlaps(prefix, destination)),
  line: routeLine,
  observedLine: observedRouteLine,
  source: { listing: routeTables, open: openReader },
  notices: {
    route: deviationOf,
    nextHop: (change, { host }) => (isNextHopLost(change, host) ? lookAt(routeKind) : undefined),
  },
  auditRound: 2,
  deviceOf: ({ device }) => device,
  requires: ({ device, gateway }, slots) =>
    gateway === undefined ? [] : [slots.get(neighbourKind, neighbourKey({ device, address: gateway }))],
  program: programRoutes,
  tidy: removeUnusedNextHops,
  plainForm: {
    require: ({ memory }) => memory.of(NextHops).forcePlain(),
    isPlain: ({ nextHopId }) => nextHopId === undefined,
  },
};

async function openReader(host: Host): Promise<Reader<ObservedRoute, "route">> {
  const nextHops = await host.netlink.dump("nextHop");
  let byId: Map<number, NextHopMessage> | undefined;
  const nextHop = (id: number): NextHopMessage | undefined => {
    byId ??= new Map(nextHops.map((each) => [each.id, each]));
    return byId.get(id);
  };
  return {
    read: (message) => {
      const isPlace = message.table === tableOf(host.ownership);
      const known = isPlace ? host.slots.get(routeKind, message.destination)?.observed : undefined;
      return known !== undefined && isFoundAgain(known, message, host) ? known : observedRoute(message, host, nextHop);
    },
    end: (found) => host.memory.of(NextHops).replaceAll(nextHops, found, host),
  };
}

/** Where a route leads, from its message or, where that names only the id, from the next-hop object. */
function hopOf(
  { nextHopId, outIndex, gateway, onLink }: RouteMessage,
  nextHopOf: (id: number) => NextHopMessage | undefined,
): { outIndex: number | undefined; gateway: Address | undefined; onLink: boolean } {
  if (nextHopId === undefined || outIndex !== undefined) return { outIndex, gateway, onLink };
  const nextHop = nextHopOf(nextHopId);
  return {
    outIndex: nextHop?.outIndex,
    gateway: gateway ?? nextHop?.gateway,
    onLink: onLink || nextHop?.onLink === true,
  };
}

/**
 * A route that is ours, or that stands where one of ours belongs; undefined for all others. `nextHop` is asked where
 * the kernel names only its id (net.ipv4.nexthop_compat_mode=0).
 */
function observedRoute(
  message: RouteMessage,
  host: Host,
  nextHopOf: (id: number) => NextHopMessage | undefined,
): ObservedRoute | undefined {
  if (!tablesOf(host.ownership).includes(message.table)) return undefined;
  const isPlace = message.table === tableOf(host.ownership);
  const { outIndex, gateway, onLink } = hopOf(message, nextHopOf);
  const isOurs = isOurRoute(message, outIndex, host);
  if (!isOurs && !(isPlace && isPlainKey(message) && isDesired(message, host))) return undefined;
  const device = host.links.byIndex(outIndex)?.name;
  return {
    destination: message.destination,
    ...(device === undefined ? {} : { device }),
    ...(gateway === undefined ? {} : { gateway }),
    onLink,
    protocol: message.protocol,
    metric: message.metric,
    tos: message.tos,
    type: message.type,
    scope: message.scope,
    ...(message.preferredSource === undefined ? {} : { preferredSource: message.preferredSource }),
    ...(message.mtuBytes === undefined ? {} : { mtuBytes: message.mtuBytes }),
    ...(message.encapsulation === undefined ? {} : { encapsulation: message.encapsulation }),
    ...(message.nextHopId === undefined ? {} : { nextHopId: message.nextHopId }),
    isMultipath: message.isMultipath,
    isOurs,
    ...(!isPlace && { strayTable: message.table }),
  };
}

/** Whether the message says what we knew: of ten thousand routes that stay, none is recreated at every look. */
function isFoundAgain(known: ObservedRoute, message: RouteMessage, host: Host): boolean {
  return (
    known.strayTable === undefined &&
    known.destination === message.destination &&
    known.gateway === message.gateway &&
    known.nextHopId === message.nextHopId &&
    known.onLink === message.onLink &&
    known.mtuBytes === message.mtuBytes &&
    known.encapsulation === message.encapsulation &&
    known.protocol === message.protocol &&
    known.type === message.type &&
    known.scope === message.scope &&
    known.metric === message.metric &&
    known.tos === message.tos &&
    known.preferredSource === message.preferredSource &&
    known.isMultipath === message.isMultipath &&
    known.device === host.links.byIndex(message.outIndex)?.name &&
    known.isOurs === isOurRoute(message, message.outIndex, host)
  );
}

function isPlainKey({ tos, metric, family }: RouteMessage): boolean {
  return tos === 0 && metric === defaultMetric(family);
}

function isDesired({ destination }: RouteMessage, { slots }: Host): boolean {
  return slots.get(routeKind, destination)?.desired !== undefined;
}

/** On our devices all that the kernel did not make by itself; elsewhere what bears our number and lies in our networks. */
function isOurRoute(message: RouteMessage, outIndex: number | undefined, { links, ownership }: Host): boolean {
  if (message.type !== rtn.unicast || message.protocol === routeProtocol.kernel) return false;
  if (ownDeviceName(outIndex, links, ownership) !== undefined) return true;
  // Elsewhere another network may have the same addresses in another table.
  const isPlace = message.table === tableOf(ownership);
  return isPlace && message.protocol === FLANNEL_PROTOCOL && isInside(message.destination, ownership.ownedNetworks);
}

function deviationOf({ action, message }: Change<"route">, watch: Watch): Deviation | undefined {
  const route = observedRoute(message, watch.host, () => undefined);
  if (route === undefined) return undefined;
  const slot = watch.host.slots.get(routeKind, observedRouteKey(route));
  if (watch.isResting(slot)) return undefined;
  const known = slot?.observed;
  const isSame =
    known !== undefined &&
    known.type === route.type &&
    known.protocol === route.protocol &&
    known.nextHopId === route.nextHopId &&
    known.mtuBytes === route.mtuBytes &&
    known.encapsulation === route.encapsulation &&
    (route.nextHopId !== undefined ||
      (known.gateway === route.gateway && known.device === route.device && known.onLink === route.onLink));
  return isSame === (action === "new") ? undefined : lookAt(routeKind);
}
