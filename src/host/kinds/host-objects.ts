// The kinds of objects a HostState holds, as wanted and as found in the kernel: keys, comparison, text. Pure.
import { type Address, type Family, familyOf, type Prefix } from "../../ip/address.ts";
import { FLANNEL_PROTOCOL, ROUTE_PROTOCOL_BOOT } from "../../netlink/rtnetlink/messages.ts";
import type {
  HostAddress,
  HostBlackhole,
  HostFdbEntry,
  HostLink,
  HostNeighbour,
  HostRoute,
  HostState,
  HostSysctl,
  TunLink,
  VxlanLink,
} from "./host-state.ts";
import {
  addressLine,
  blackholeLine,
  fdbLine,
  linkLine,
  neighbourLine,
  routeLine,
  sysctlLine,
  vxlanLine,
} from "./host-state-text.ts";

/** A device that bears one of our names. */
export interface ObservedLink {
  readonly name: string;
  readonly index: number;
  /** Missing for physical devices. */
  readonly kind?: string;
  readonly mac?: string;
  readonly mtuBytes: number;
  readonly isUp: boolean;
  readonly vxlan?: {
    readonly vni: number;
    readonly port: number;
    readonly gbp: boolean;
    readonly learning: boolean;
    readonly local?: Address;
    readonly group?: Address;
    readonly underlay?: string;
    readonly l2miss: boolean;
    readonly l3miss: boolean;
  };
}

/** A route of the main table that is ours, or stands where one of ours belongs. */
export interface ObservedRoute {
  readonly destination: Prefix;
  /** Missing for a route without a device (blackhole, several next hops). */
  readonly device?: string;
  readonly gateway?: Address;
  readonly onLink: boolean;
  readonly protocol: number;
  readonly metric: number;
  readonly tos: number;
  /** RTN_*. */
  readonly type: number;
  /** RT_SCOPE_*. */
  readonly scope: number;
  readonly preferredSource?: Address;
  readonly nextHopId?: number;
  readonly isMultipath: boolean;
  /** Whether it may be removed when nobody wants it. */
  readonly isOurs: boolean;
}

export interface HostKinds {
  link: { desired: HostLink; observed: ObservedLink };
  sysctl: { desired: HostSysctl; observed: HostSysctl };
  address: { desired: HostAddress; observed: HostAddress };
  neighbour: { desired: HostNeighbour; observed: HostNeighbour };
  fdb: { desired: HostFdbEntry; observed: HostFdbEntry };
  route: { desired: HostRoute; observed: ObservedRoute };
  blackhole: { desired: HostBlackhole; observed: HostBlackhole };
}
export type HostKind = keyof HostKinds;

/** The order of adding; removal goes the other way. Next hops are a matter of how a route is written, not a kind. */
export const hostKinds: readonly HostKind[] = ["link", "sysctl", "address", "neighbour", "fdb", "route", "blackhole"];

export type Desired<K extends HostKind> = HostKinds[K]["desired"];
export type Observed<K extends HostKind> = HostKinds[K]["observed"];

/** Kinds of devices that we create; one of another kind under our name is somebody else's. */
export const OWN_LINK_KINDS: ReadonlySet<string> = new Set<HostLink["kind"]>(["vxlan", "tun"]);

const ROUTE_TYPE_UNICAST = 1;
const IPV6_DEFAULT_METRIC = 1024;

/** What the kernel files a route under that was added without a metric. */
export function defaultMetric(family: Family): number {
  return family === 4 ? 0 : IPV6_DEFAULT_METRIC;
}

interface KindRules<K extends HostKind> {
  desiredOf(state: HostState): readonly Desired<K>[];
  key(object: Desired<K>): string;
  observedKey(object: Observed<K>): string;
  /** Whether the kernel's object serves as the wanted one, as it is. */
  isSatisfied(desired: Desired<K>, observed: Observed<K>, ownDevices: ReadonlySet<string>): boolean;
  /** The device it disappears with; undefined for links and for what stands alone. */
  deviceOf(object: Desired<K>): string | undefined;
}

export const kindRules: { readonly [K in HostKind]: KindRules<K> } = {
  link: {
    desiredOf: (state) => state.links,
    key: (link) => link.name,
    observedKey: (link) => link.name,
    isSatisfied: (desired, observed) => linkChanges(desired, observed).length === 0,
    deviceOf: () => undefined,
  },
  sysctl: {
    desiredOf: (state) => state.sysctls,
    key: (sysctl) => sysctl.key,
    observedKey: (sysctl) => sysctl.key,
    isSatisfied: (desired, observed) => desired.value === observed.value,
    deviceOf: () => undefined,
  },
  address: {
    desiredOf: (state) => state.addresses,
    key: addressKey,
    observedKey: addressKey,
    isSatisfied: () => true,
    deviceOf: (address) => address.device,
  },
  neighbour: {
    desiredOf: (state) => state.neighbours,
    key: neighbourKey,
    observedKey: neighbourKey,
    isSatisfied: (desired, observed) => desired.mac === observed.mac,
    deviceOf: (neighbour) => neighbour.device,
  },
  fdb: {
    desiredOf: (state) => state.fdb,
    key: fdbKey,
    observedKey: fdbKey,
    isSatisfied: (desired, observed) => desired.destination === observed.destination,
    deviceOf: (entry) => entry.device,
  },
  route: {
    desiredOf: (state) => state.routes,
    key: (route) => route.destination,
    observedKey: observedRouteKey,
    isSatisfied: isRouteSatisfied,
    deviceOf: (route) => route.device,
  },
  blackhole: {
    desiredOf: (state) => state.blackholes ?? [],
    key: (blackhole) => blackhole.destination,
    observedKey: (blackhole) => blackhole.destination,
    isSatisfied: () => true,
    deviceOf: () => undefined,
  },
};

function addressKey(object: HostAddress): string {
  return `${object.device} ${object.address}`;
}

function neighbourKey(object: HostNeighbour): string {
  return `${object.device} ${object.address}`;
}

/** A unicast MAC has one destination; zero and group addresses may have many (vxlan_fdb_append), each an object. */
function fdbKey(object: HostFdbEntry): string {
  const key = `${object.device} ${object.mac}`;
  return (Number.parseInt(object.mac.slice(0, 2), 16) & 1) === 1 || object.mac === "00:00:00:00:00:00"
    ? `${key} ${object.destination}`
    : key;
}

/** The kernel identifies a route by destination, metric and tos; ours have neither of the latter. */
function observedRouteKey(route: ObservedRoute): string {
  const isPlain = route.tos === 0 && route.metric === defaultMetric(familyOf(route.destination));
  return isPlain ? route.destination : `${route.destination} metric ${route.metric} tos ${route.tos}`;
}

/** Both forms of a route, plain and through a next-hop object, count as the same. */
function isRouteSatisfied(desired: HostRoute, observed: ObservedRoute, ownDevices: ReadonlySet<string>): boolean {
  return (
    desired.gateway === observed.gateway &&
    desired.device === observed.device &&
    desired.onLink === observed.onLink &&
    observed.type === ROUTE_TYPE_UNICAST &&
    observed.scope === 0 &&
    !observed.isMultipath &&
    observed.preferredSource === undefined &&
    observed.protocol === routeProtocol(desired.device, ownDevices)
  );
}

/** Boot on our own devices, as upstream writes it; our own number where only the tag tells whose it is. */
export function routeProtocol(device: string, ownDevices: ReadonlySet<string>): number {
  return ownDevices.has(device) ? ROUTE_PROTOCOL_BOOT : FLANNEL_PROTOCOL;
}

export type LinkField = "mac" | "mtu" | "local" | "underlay" | "learning" | "up" | "identity";

/**
 * What has to change on a living device. `identity` (VNI, port, GBP, family of the outer address, group) cannot be
 * changed: the device has to be made anew (seen on Linux 6.18: "Cannot change port", "cannot change GBP flag",
 * "New local address family does not match old").
 */
export function linkChanges(desired: HostLink, observed: ObservedLink): readonly LinkField[] {
  return desired.kind === "vxlan" ? vxlanChanges(desired, observed) : tunChanges(desired, observed);
}

function tunChanges(desired: TunLink, observed: ObservedLink): readonly LinkField[] {
  if (observed.kind !== "tun") return ["identity"];
  const changes: LinkField[] = [];
  if (observed.mtuBytes !== desired.mtuBytes) changes.push("mtu");
  if (!observed.isUp) changes.push("up");
  return changes;
}

function vxlanChanges(desired: VxlanLink, observed: ObservedLink): readonly LinkField[] {
  const vxlan = observed.vxlan;
  if (vxlan === undefined) return ["identity"];
  const changes: LinkField[] = [];
  const hasOtherIdentity =
    vxlan.vni !== desired.vni ||
    (desired.port !== 0 && vxlan.port !== desired.port) ||
    vxlan.gbp !== desired.gbp ||
    vxlan.group !== undefined ||
    vxlan.l2miss ||
    vxlan.l3miss ||
    (vxlan.local !== undefined && familyOf(vxlan.local) !== familyOf(desired.local));
  if (hasOtherIdentity) changes.push("identity");
  if (observed.mac !== desired.mac) changes.push("mac");
  if (observed.mtuBytes !== desired.mtuBytes) changes.push("mtu");
  if (vxlan.local !== desired.local) changes.push("local");
  if (vxlan.underlay !== desired.underlay) changes.push("underlay");
  if (vxlan.learning !== desired.learning) changes.push("learning");
  if (!observed.isUp) changes.push("up");
  return changes;
}

/** The device its outer packets leave through, for kernel tunnels. */
export function underlayOf(link: HostLink): string | undefined {
  return link.kind === "vxlan" ? link.underlay : undefined;
}

/** A device of another kind that bears our name is somebody else's: why it cannot be used, undefined when it can. */
export function foreignLinkReason(desired: HostLink, observed: ObservedLink): string | undefined {
  if (observed.kind === desired.kind) return undefined;
  const kind = observed.kind ?? "physical device";
  return `${desired.name} exists as a ${kind}, not as a ${desired.kind} device of ours; rename it or delete it with: ip link delete dev ${desired.name}`;
}

/** A wanted object as `ip`, `bridge` and `sysctl` would show it. */
export function desiredLine<K extends HostKind>(kind: K, desired: Desired<K>, ownDevices: ReadonlySet<string>): string {
  return desiredLines[kind](desired, ownDevices);
}

const desiredLines: {
  readonly [K in HostKind]: (desired: Desired<K>, ownDevices: ReadonlySet<string>) => string;
} = {
  link: linkLine,
  sysctl: sysctlLine,
  address: addressLine,
  neighbour: neighbourLine,
  fdb: fdbLine,
  route: (route, ownDevices) => routeLine(route, ownDevices.has(route.device)),
  blackhole: blackholeLine,
};

/** A found object as `ip` and `bridge` would show it. */
export function observedLine<K extends HostKind>(kind: K, observed: Observed<K>): string {
  return observedLines[kind](observed);
}

const observedLines: { readonly [K in HostKind]: (observed: Observed<K>) => string } = {
  link: observedLinkLine,
  sysctl: sysctlLine,
  address: addressLine,
  neighbour: neighbourLine,
  fdb: fdbLine,
  route: observedRouteLine,
  blackhole: blackholeLine,
};

function observedLinkLine(link: ObservedLink): string {
  const { vxlan } = link;
  const { name, mac, mtuBytes } = link;
  const down = link.isUp ? "" : " state DOWN";
  if (link.kind === "tun") return `${name} mtu ${mtuBytes} type tun${down}`;
  if (vxlan === undefined) return [name, "type", link.kind ?? "physical"].join(" ");
  return `${vxlanLine({ name, mtuBytes, ...(mac === undefined ? {} : { mac }), ...vxlan })}${down}`;
}

function observedRouteLine(route: ObservedRoute): string {
  const parts: string[] = [route.destination];
  if (route.type !== ROUTE_TYPE_UNICAST) parts.unshift(`type ${route.type}`);
  if (route.nextHopId !== undefined) parts.push(`nhid ${route.nextHopId}`);
  if (route.isMultipath) parts.push("nexthop ...");
  if (route.gateway !== undefined) parts.push(`via ${route.gateway}`);
  if (route.device !== undefined) parts.push(`dev ${route.device}`);
  if (route.protocol !== ROUTE_PROTOCOL_BOOT) parts.push(`proto ${route.protocol}`);
  if (route.preferredSource !== undefined) parts.push(`src ${route.preferredSource}`);
  if (route.metric !== 0) parts.push(`metric ${route.metric}`);
  if (route.onLink) parts.push("onlink");
  return parts.join(" ");
}
