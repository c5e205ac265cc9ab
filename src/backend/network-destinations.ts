// Which routes lead a network into a device that carries all of it. Pure.
import type { Prefix } from "../ip/address.ts";
import { containsPrefix } from "../ip/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import type { OccupiedPrefix } from "../underlay/occupied-prefixes.ts";
import type { PeerReach } from "./peer-reach.ts";
import { hasHostInside } from "./settle-claims.ts";

/**
 * As upstream, one for the whole network. Where the store, a gateway or a host has an address inside of it, that route
 * would take the way to them: then each peer has its own.
 */
export function networkDestinations(
  network: Prefix,
  reaches: readonly PeerReach[],
  leases: readonly Lease[],
  occupied: readonly OccupiedPrefix[],
): readonly Prefix[] {
  const isShared = hasHostInside(leases, network) || occupied.some((entry) => hidesBehind(network, entry));
  return isShared ? reaches.map(({ subnet }) => subnet) : [network];
}

/** Whether a route to the network would take packets for it; a narrower network of an interface has the better route. */
function hidesBehind(network: Prefix, { prefix, isConnected }: OccupiedPrefix): boolean {
  return prefix === network || (!isConnected && containsPrefix(network, prefix));
}
