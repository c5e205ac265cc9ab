// What routes of ours look like, as wanted and as found: keys, comparison, text. Pure; the kind is route.ts.
import { type Address, type Family, familyOf, type Prefix } from "../../ip/address.ts";
import { hostText } from "../../ip/prefix.ts";
import { FLANNEL_PROTOCOL } from "../../netlink/rtnetlink/messages.ts";
import { encapsulationText, type RouteEncapsulation } from "../../netlink/rtnetlink/route-encapsulation.ts";
import { routeProtocol, rtn } from "../../netlink/uapi.ts";

/**
 * A unicast route in the main table. At most one per destination is ours.
 * On a device of ours it carries protocol boot like upstream's; elsewhere our own protocol number.
 */
export interface HostRoute {
  readonly destination: Prefix;
  /** Name. */
  readonly device: string;
  /** Missing: the device itself takes the packets (TUN). */
  readonly gateway?: Address;
  /** Treat the gateway as reachable on the link without a covering route. */
  readonly onLink: boolean;
  /** Scope link instead of universe, as upstream has it for some devices. IPv6 has no scopes. */
  readonly isLinkScope?: true;
  /** RTAX_MTU, for the packets of this route, where it is lower than the device's MTU for others. */
  readonly mtuBytes?: number;
  /** Its packets travel inside of others with these addresses: for a device of kind ip6tnl (Linux 4.9). */
  readonly encapsulation?: RouteEncapsulation;
  /** Number, for people: all routes of a network stand in one table, which `Ownership` names. */
  readonly table?: number;
}

/** A route of the main table that is ours, or stands where one of ours belongs. */
export interface ObservedRoute {
  readonly destination: Prefix;
  /** Missing for a route without a device (blackhole, several next hops). */
  readonly device?: string;
  readonly gateway?: Address;
  readonly onLink: boolean;
  /** RTPROT_*. */
  readonly protocol: number;
  /** The kernel prefers the lowest; see `defaultMetric`. */
  readonly metric: number;
  /** 0: for all packets. IPv6 has none. */
  readonly tos: number;
  /** RTN_*. */
  readonly type: number;
  /** RT_SCOPE_*. */
  readonly scope: number;
  readonly preferredSource?: Address;
  readonly mtuBytes?: number;
  /** As `ip route` prints it. */
  readonly encapsulation?: string;
  /** It goes through that next-hop object (Linux 5.3); gateway and device are those of the object. */
  readonly nextHopId?: number;
  /** It has several next hops; ours never have. */
  readonly isMultipath: boolean;
  /** Whether it may be removed when nobody wants it. */
  readonly isOurs: boolean;
  /** The table it stands in, where that is not the one of our routes: left of an earlier configuration. */
  readonly strayTable?: number;
}

/** IP6_RT_PRIO_USER of linux/ipv6_route.h. */
const IPV6_DEFAULT_METRIC = 1024;
/** linux/rtnetlink.h. */
const RT_SCOPE_LINK = 253;

/** What the kernel files a route under that was added without a metric. */
export function defaultMetric(family: Family): number {
  return family === 4 ? 0 : IPV6_DEFAULT_METRIC;
}

/** Boot on our own devices, as upstream writes it; our own number where only the tag tells whose it is. */
export function protocolOn(device: string, ownDevices: ReadonlySet<string>): number {
  return ownDevices.has(device) ? routeProtocol.boot : FLANNEL_PROTOCOL;
}

/** The kernel identifies a route by destination, metric and tos; ours have neither of the latter. */
export function observedRouteKey({ destination, metric, tos, strayTable }: ObservedRoute): string {
  if (strayTable !== undefined) return `${destination} metric ${metric} tos ${tos} table ${strayTable}`;
  const isPlain = tos === 0 && metric === defaultMetric(familyOf(destination));
  return isPlain ? destination : `${destination} metric ${metric} tos ${tos}`;
}

/** Both forms of a route, plain and through a next-hop object, count as the same. */
export function isRouteSatisfied(
  desired: HostRoute,
  observed: ObservedRoute,
  ownDevices: ReadonlySet<string>,
): boolean {
  return (
    desired.gateway === observed.gateway &&
    desired.device === observed.device &&
    desired.onLink === observed.onLink &&
    desired.mtuBytes === observed.mtuBytes &&
    encapsulationOf(desired) === observed.encapsulation &&
    observed.type === rtn.unicast &&
    observed.scope === scopeOf(desired) &&
    !observed.isMultipath &&
    observed.preferredSource === undefined &&
    observed.protocol === protocolOn(desired.device, ownDevices)
  );
}

/** As `ip route` prints it. */
function encapsulationOf({ encapsulation }: HostRoute): string | undefined {
  return encapsulation === undefined ? undefined : encapsulationText(encapsulation);
}

/** RT_SCOPE_*. */
export function scopeOf({ isLinkScope, destination }: HostRoute): number {
  return isLinkScope === true && familyOf(destination) === 4 ? RT_SCOPE_LINK : 0;
}

/** A route that the kernel made for an address of a foreign interface: without it that network is cut off. */
export function isConnected({ protocol, device }: ObservedRoute, ownDevices: ReadonlySet<string>): boolean {
  return protocol === routeProtocol.kernel && !ownDevices.has(device ?? "");
}

export function connectedRefusal(route: Pick<ObservedRoute, "destination"> & { readonly device?: string | undefined }) {
  const { destination, device } = route;
  return (
    `the kernel's route ${destination} dev ${device ?? "?"} stays: an interface of this host is connected to that network; ` +
    "remove its address, or revoke the lease"
  );
}

/** As in `ip route` and `ip -6 route`; a route on a device that is not ours shows our protocol number. */
export function routeLine(route: HostRoute, ownDevices: ReadonlySet<string>): string {
  const family = familyOf(route.destination);
  const parts: string[] = [hostText(route.destination)];
  if (route.encapsulation !== undefined) parts.push(`encap ${encapsulationOf(route)}`);
  if (route.gateway !== undefined) parts.push("via", route.gateway);
  parts.push("dev", route.device);
  if (route.table !== undefined) parts.push("table", String(route.table));
  if (!ownDevices.has(route.device)) parts.push("proto", String(FLANNEL_PROTOCOL));
  if (scopeOf(route) === RT_SCOPE_LINK) parts.push("scope link");
  if (family === 6) parts.push("metric 1024");
  if (route.onLink) parts.push("onlink");
  if (route.mtuBytes !== undefined) parts.push(`mtu ${route.mtuBytes}`);
  if (family === 6) parts.push("pref medium");
  return parts.join(" ");
}

export function observedRouteLine(route: ObservedRoute): string {
  const parts: string[] = [route.destination];
  if (route.type !== rtn.unicast) parts.unshift(`type ${route.type}`);
  if (route.nextHopId !== undefined) parts.push(`nhid ${route.nextHopId}`);
  if (route.isMultipath) parts.push("nexthop ...");
  if (route.encapsulation !== undefined) parts.push(`encap ${route.encapsulation}`);
  if (route.gateway !== undefined) parts.push(`via ${route.gateway}`);
  if (route.device !== undefined) parts.push(`dev ${route.device}`);
  if (route.protocol !== routeProtocol.boot) parts.push(`proto ${route.protocol}`);
  if (route.preferredSource !== undefined) parts.push(`src ${route.preferredSource}`);
  if (route.scope === RT_SCOPE_LINK) parts.push("scope link");
  if (route.strayTable !== undefined) parts.push(`table ${route.strayTable}`);
  if (route.metric !== 0) parts.push(`metric ${route.metric}`);
  if (route.onLink) parts.push("onlink");
  if (route.mtuBytes !== undefined) parts.push(`mtu ${route.mtuBytes}`);
  return parts.join(" ");
}
