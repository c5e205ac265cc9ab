// Reads what is ours, or stands where ours belongs, out of the kernel's listings. Pure; the listing is observe.ts.
import type { Prefix } from "../../ip/address.ts";
import { isInside } from "../../ip/prefix.ts";
import {
  type AddressMessage,
  BLACKHOLE_METRIC,
  type FdbMessage,
  FLANNEL_PROTOCOL,
  type LinkMessage,
  MAIN_TABLE,
  type NeighbourMessage,
  type NextHopMessage,
  type RouteMessage,
} from "../../netlink/rtnetlink/messages.ts";
import { defaultMetric, type ObservedLink, type ObservedRoute, OWN_LINK_KINDS } from "../kinds/host-objects.ts";
import type { HostAddress, HostBlackhole, HostFdbEntry, HostNeighbour } from "../kinds/host-state.ts";

const NUD_NOARP = 0x40;
const NUD_PERMANENT = 0x80;
const ROUTE_TYPE_UNICAST = 1;
const ROUTE_TYPE_BLACKHOLE = 6;
const ROUTE_PROTOCOL_KERNEL = 2;

/** What makes an object ours. */
export interface Ownership {
  /** Names; a device counts when its kind is one of ours too. */
  readonly ownDevices: ReadonlySet<string>;
  /** Routes with our protocol number are ours inside these networks: other agents on this host have other networks. */
  readonly ownedNetworks: readonly Prefix[];
}

/** The links of the host by index and by name. */
export class LinkDirectory {
  readonly #byIndex = new Map<number, LinkMessage>();
  readonly #byName = new Map<string, LinkMessage>();

  replaceAll(links: readonly LinkMessage[]): void {
    this.#byIndex.clear();
    this.#byName.clear();
    for (const link of links) this.set(link);
  }

  set(link: LinkMessage): void {
    const before = this.#byIndex.get(link.index);
    if (before !== undefined && before.name !== link.name) this.#forgetName(before);
    this.#byIndex.set(link.index, link);
    this.#byName.set(link.name, link);
  }

  delete(link: LinkMessage): void {
    this.#byIndex.delete(link.index);
    this.#forgetName(link);
  }

  byIndex(index: number | undefined): LinkMessage | undefined {
    return index === undefined ? undefined : this.#byIndex.get(index);
  }

  byName(name: string): LinkMessage | undefined {
    return this.#byName.get(name);
  }

  all(): IterableIterator<LinkMessage> {
    return this.#byIndex.values();
  }

  #forgetName(link: LinkMessage): void {
    if (this.#byName.get(link.name)?.index === link.index) this.#byName.delete(link.name);
  }
}

/** Our device with this index; undefined for all others. */
export function ownDeviceName(
  index: number | undefined,
  links: LinkDirectory,
  ownership: Ownership,
): string | undefined {
  const link = links.byIndex(index);
  if (link === undefined || !ownership.ownDevices.has(link.name)) return undefined;
  return OWN_LINK_KINDS.has(link.kind ?? "") ? link.name : undefined;
}

export function observedLink(link: LinkMessage, links: LinkDirectory): ObservedLink {
  const { name, index, mtuBytes, isUp, kind, mac, vxlan } = link;
  const base = {
    name,
    index,
    mtuBytes,
    isUp,
    ...(kind === undefined ? {} : { kind }),
    ...(mac === undefined ? {} : { mac }),
  };
  if (vxlan === undefined) return base;
  const { vni, port, gbp, learning, local, group, l2miss, l3miss } = vxlan;
  const underlay = links.byIndex(vxlan.linkIndex)?.name;
  return {
    ...base,
    vxlan: {
      vni,
      port,
      gbp,
      learning,
      l2miss,
      l3miss,
      ...(local === undefined ? {} : { local }),
      ...(group === undefined ? {} : { group }),
      ...(underlay === undefined ? {} : { underlay }),
    },
  };
}

/** An address on a device of ours; IPv6 link-local ones are the kernel's. */
export function observedAddress(
  message: AddressMessage,
  links: LinkDirectory,
  ownership: Ownership,
): HostAddress | undefined {
  const device = ownDeviceName(message.index, links, ownership);
  if (device === undefined || /^fe[89ab]/.test(message.address)) return undefined;
  return { device, address: message.address };
}

/** A permanent neighbour on a device of ours. */
export function observedNeighbour(
  message: NeighbourMessage,
  links: LinkDirectory,
  ownership: Ownership,
): HostNeighbour | undefined {
  if ((message.state & NUD_PERMANENT) === 0 || message.mac === undefined) return undefined;
  const device = ownDeviceName(message.index, links, ownership);
  return device === undefined ? undefined : { device, address: message.address, mac: message.mac };
}

/** A forwarding entry somebody wrote; those the device learned come and go by themselves. */
export function observedFdbEntry(
  message: FdbMessage,
  links: LinkDirectory,
  ownership: Ownership,
): HostFdbEntry | undefined {
  if ((message.state & (NUD_PERMANENT | NUD_NOARP)) === 0 || message.destination === undefined) return undefined;
  const device = ownDeviceName(message.index, links, ownership);
  return device === undefined ? undefined : { device, mac: message.mac, destination: message.destination };
}

export interface RouteContext {
  readonly links: LinkDirectory;
  readonly ownership: Ownership;
  /** Whether the plan has a route to this destination. */
  isDesired(destination: Prefix): boolean;
  /** With net.ipv4.nexthop_compat_mode=0 the kernel names only the next hop's id. */
  nextHop(id: number): NextHopMessage | undefined;
}

/** A route that is ours, or that stands where one of ours belongs; undefined for all others. */
export function observedRoute(message: RouteMessage, context: RouteContext): ObservedRoute | undefined {
  if (message.table !== MAIN_TABLE) return undefined;
  const isWhole = message.nextHopId === undefined || message.outIndex !== undefined;
  const nextHop = isWhole ? undefined : context.nextHop(message.nextHopId);
  const outIndex = message.outIndex ?? nextHop?.outIndex;
  const gateway = message.gateway ?? nextHop?.gateway;
  const isOurs = isOurRoute(message, outIndex, context);
  if (!isOurs && !(isPlainKey(message) && context.isDesired(message.destination))) return undefined;
  const device = context.links.byIndex(outIndex)?.name;
  return {
    destination: message.destination,
    ...(device === undefined ? {} : { device }),
    ...(gateway === undefined ? {} : { gateway }),
    onLink: message.onLink || nextHop?.onLink === true,
    protocol: message.protocol,
    metric: message.metric,
    tos: message.tos,
    type: message.type,
    scope: message.scope,
    ...(message.preferredSource === undefined ? {} : { preferredSource: message.preferredSource }),
    ...(message.nextHopId === undefined ? {} : { nextHopId: message.nextHopId }),
    isMultipath: message.isMultipath,
    isOurs,
  };
}

/** A blackhole of ours; upstream's have neither number nor metric and are left alone. */
export function observedBlackhole(message: RouteMessage, { ownedNetworks }: Ownership): HostBlackhole | undefined {
  const { table, type, protocol, metric, destination } = message;
  const isOurs = type === ROUTE_TYPE_BLACKHOLE && protocol === FLANNEL_PROTOCOL && metric === BLACKHOLE_METRIC;
  return isOurs && table === MAIN_TABLE && isInside(destination, ownedNetworks) ? { destination } : undefined;
}

/** Whether the message says what we knew: of ten thousand routes that stay, none is made anew at every look. */
export function isFoundAgain(known: ObservedRoute, message: RouteMessage, context: RouteContext): boolean {
  return (
    message.table === MAIN_TABLE &&
    known.destination === message.destination &&
    known.gateway === message.gateway &&
    known.nextHopId === message.nextHopId &&
    known.onLink === message.onLink &&
    known.protocol === message.protocol &&
    known.type === message.type &&
    known.scope === message.scope &&
    known.metric === message.metric &&
    known.tos === message.tos &&
    known.preferredSource === message.preferredSource &&
    known.isMultipath === message.isMultipath &&
    known.device === context.links.byIndex(message.outIndex)?.name &&
    known.isOurs === isOurRoute(message, message.outIndex, context)
  );
}

function isPlainKey(message: RouteMessage): boolean {
  return message.tos === 0 && message.metric === defaultMetric(message.family);
}

/** On our devices all that the kernel did not make by itself; elsewhere what bears our number and lies in our networks. */
function isOurRoute(message: RouteMessage, outIndex: number | undefined, context: RouteContext): boolean {
  if (message.type !== ROUTE_TYPE_UNICAST || message.protocol === ROUTE_PROTOCOL_KERNEL) return false;
  if (ownDeviceName(outIndex, context.links, context.ownership) !== undefined) return true;
  return message.protocol === FLANNEL_PROTOCOL && isInside(message.destination, context.ownership.ownedNetworks);
}
