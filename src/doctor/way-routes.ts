// Routes of others that concern the ways to and from peers: those to a part of a peer's subnet, in any table, and those to single
// containers of this host. One listing for both: that of a large routing table takes a quarter of a second.
import {
  type Address,
  type Family,
  familyOf,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../ip/address.ts";
import { containsPrefix, networkAddress } from "../ip/prefix.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { routeTable } from "../netlink/uapi.ts";
import { type RoutedContainer, routedContainer } from "./way-context.ts";

export interface WayRoutes {
  /** Those of the listing. */
  readonly ownSubnets: readonly Prefix[];
  /** By subnet of a peer: addresses for which another program has a route. */
  readonly suspects: ReadonlyMap<Prefix, readonly Address[]>;
  readonly routed: readonly RoutedContainer[];
}

export const noWayRoutes: WayRoutes = { ownSubnets: [], suspects: new Map(), routed: [] };

const MAX_SUSPECTS = 1_000;
const MAX_SUSPECTS_PER_PEER = 4;
/** Some of them may be behind devices of ours, which count for nothing. */
const MAX_ROUTED = 64;

/** `peers`: by subnet. */
export async function readWayRoutes(
  netlink: Rtnetlink,
  peers: ReadonlyMap<Prefix, unknown>,
  { networks, ownSubnets }: { readonly networks: readonly Prefix[]; readonly ownSubnets: readonly Prefix[] },
): Promise<WayRoutes> {
  const lengths = [...new Set([...peers.keys()].map((subnet) => `${familyOf(subnet)} ${prefixLength(subnet)}`))];
  const suspects = new Map<Prefix, Address[]>();
  const routed: RoutedContainer[] = [];
  let count = 0;
  await netlink.dumpAs("route", { overlapping: networks }, (route): undefined => {
    const { destination, table, family } = route;
    const container = routedContainer(route, ownSubnets);
    if (container !== undefined && routed.length < MAX_ROUTED) routed.push(container);
    if (table === routeTable.local || count >= MAX_SUSPECTS) return;
    const subnet = peerAround(destination, family, peers, lengths);
    if (subnet === undefined || subnet === destination) return;
    const addresses = suspects.get(subnet) ?? [];
    if (addresses.length >= MAX_SUSPECTS_PER_PEER) return;
    count++;
    suspects.set(subnet, [...addresses, prefixAddress(destination)]);
  });
  return { ownSubnets, suspects, routed };
}

function peerAround(
  destination: Prefix,
  family: Family,
  peers: ReadonlyMap<Prefix, unknown>,
  lengths: readonly string[],
): Prefix | undefined {
  for (const text of lengths) {
    const [ofFamily, length] = text.split(" ").map(Number);
    if (ofFamily !== family || length === undefined || length > prefixLength(destination)) continue;
    const around = makePrefix(networkAddress(makePrefix(prefixAddress(destination), length)), length);
    if (peers.has(around) && containsPrefix(around, destination)) return around;
  }
  return undefined;
}
