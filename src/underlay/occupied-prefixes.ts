// What this host already uses inside the containers' network: no subnet of another host may take it. Pure.
// A peer's route is more specific than most, so that it would win over the way to these.
import {
  type Address,
  addressBits,
  familyOf,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../ip/address.ts";
import { containsAddress, containsPrefix, isInside, networkOf, overlaps } from "../ip/prefix.ts";
import {
  type AddressMessage,
  FLANNEL_PROTOCOL,
  type LinkMessage,
  type RouteMessage,
} from "../netlink/rtnetlink/messages.ts";
import { routeProtocol, rtn } from "../netlink/uapi.ts";

export interface OccupiedPrefix {
  /** Host bits are clear. */
  readonly prefix: Prefix;
  /** For messages: `10.5.77.0/24, which docker0 is connected to`. */
  readonly what: string;
  /** Whether an interface is connected to it; otherwise it is one address, reached somehow. */
  readonly isConnected: boolean;
}

/** Addresses, links and routes of the main table as the kernel lists them. */
export interface HostLayout {
  readonly links: readonly LinkMessage[];
  readonly addresses: readonly AddressMessage[];
  readonly routes: readonly RouteMessage[];
}

/** An address that must be reached outside of the containers' network. */
export interface ReachedAddress {
  readonly address: Address;
  /** For messages: `the store's address 192.0.2.1`. */
  readonly what: string;
}

export interface OccupiedContext {
  readonly networks: readonly Prefix[];
  /** Our own lease: an interface with an address in it is the bridge of our containers. */
  readonly ownSubnets: readonly Prefix[];
  /** Of earlier leases of this host. */
  readonly earlierSubnets: readonly Prefix[];
  /** Whether flannel made the link, for this network or another one. */
  readonly isFlannelLink: (link: LinkMessage) => boolean;
  readonly reached: readonly ReachedAddress[];
}

/**
 * Networks that a foreign interface is connected to, addresses of this host and of its gateways, and `reached`: those
 * that lie in the networks, in this order, each prefix once. A connected network that is wider than the whole containers'
 * network is left out: there an operator took the containers' network out of it on purpose, and only the addresses in use
 * are kept.
 */
export function occupiedPrefixes(layout: HostLayout, context: OccupiedContext): readonly OccupiedPrefix[] {
  const foreign = new Map(
    layout.links.filter((link) => !context.isFlannelLink(link)).map((link) => [link.index, link.name]),
  );
  const found = new Map<Prefix, OccupiedPrefix>();
  const add = (entry: OccupiedPrefix) => {
    if (!found.has(entry.prefix)) found.set(entry.prefix, entry);
  };
  for (const entry of connectedNetworks(layout, foreign, context)) add(entry);
  for (const { address, what } of [...context.reached, ...gateways(layout, foreign, context)]) {
    const prefix = makePrefix(address, addressBits(familyOf(address)));
    if (isInside(prefix, context.networks)) add({ prefix, what, isConnected: false });
  }
  return [...found.values()];
}

/** A route that the kernel made for a network that a device is connected to. */
function isConnection({ type, protocol, gateway }: HostLayout["routes"][number]): boolean {
  return type === rtn.unicast && protocol === routeProtocol.kernel && gateway === undefined;
}

/** The network that the address connects to, or the address alone where that network is wider than ours. */
function occupiedByAddress(device: string, address: Prefix, context: OccupiedContext): OccupiedPrefix[] {
  const { networks, ownSubnets } = context;
  const own = prefixAddress(address);
  if (ownSubnets.some((subnet) => containsAddress(subnet, own))) return [];
  const prefix = networkOf(address);
  if (isCarvedOut(prefix, networks)) {
    return [{ prefix, what: connectionText(device, address, context), isConnected: true }];
  }
  if (!networks.some((network) => containsAddress(network, own))) return [];
  const what = `this host's own address ${own} on ${device}`;
  return [{ prefix: makePrefix(own, addressBits(familyOf(address))), what, isConnected: false }];
}

function connectedNetworks(
  { addresses, routes }: HostLayout,
  foreign: ReadonlyMap<number, string>,
  context: OccupiedContext,
): OccupiedPrefix[] {
  const { networks, ownSubnets } = context;
  const found: OccupiedPrefix[] = [];
  for (const { index, address } of addresses) {
    const device = foreign.get(index);
    if (device !== undefined) found.push(...occupiedByAddress(device, address, context));
  }
  for (const route of routes) {
    const { destination: prefix, outIndex } = route;
    const device = foreign.get(outIndex ?? 0);
    if (device === undefined || !isConnection(route) || !isCarvedOut(prefix, networks)) continue;
    if (isInside(prefix, ownSubnets)) continue;
    // The bridge of our containers may have a wider prefix than our subnet.
    if (ownSubnets.some((subnet) => containsPrefix(prefix, subnet))) continue;
    found.push({ prefix, what: `${prefix}, which ${device} is connected to`, isConnected: true });
  }
  return found;
}

/** Whether it shares addresses with a network and is not wider than that. */
function isCarvedOut(prefix: Prefix, networks: readonly Prefix[]): boolean {
  return networks.some((network) => overlaps(network, prefix) && prefixLength(prefix) >= prefixLength(network));
}

function connectionText(device: string, address: Prefix, { earlierSubnets }: OccupiedContext): string {
  const earlier = earlierSubnets.find((subnet) => containsAddress(subnet, prefixAddress(address)));
  return earlier === undefined
    ? `${networkOf(address)}, which ${device} is connected to by its address ${address}`
    : `${device}, which still has the address ${address} of an earlier subnet of this host (${earlier})`;
}

/** Of routes that lead out of foreign interfaces; those to subnets of peers are none. */
function gateways(
  { routes }: HostLayout,
  foreign: ReadonlyMap<number, string>,
  { networks }: OccupiedContext,
): ReachedAddress[] {
  const hops = routes
    .filter(({ type, protocol, destination }) => {
      return type === rtn.unicast && protocol !== FLANNEL_PROTOCOL && !isInside(destination, networks);
    })
    .flatMap(({ gateway, outIndex, nextHops = [] }) => [{ gateway, outIndex }, ...nextHops])
    .filter(({ outIndex }) => foreign.has(outIndex ?? 0));
  const addresses = new Set(hops.flatMap(({ gateway }) => gateway ?? []));
  return [...addresses].map((address) => ({ address, what: `the gateway ${address}` }));
}
