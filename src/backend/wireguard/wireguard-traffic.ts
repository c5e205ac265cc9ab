// What WireGuard peers carried, as found on the host, by lease and by static peer. Pure.
import type { ObservedLink } from "../../host/kinds/link-form.ts";
import type { ObservedWireguardPeer } from "../../host/kinds/wireguard-form.ts";
import type { Lease } from "../../lease/lease.ts";
import { endpointText } from "../../netlink/genetlink/wireguard-device.ts";
import type { ObservedObjects, RuntimeStatus } from "../backend.ts";
import type { StaticPeer } from "./static-peers.ts";
import { readWireguardData } from "./wireguard-data.ts";

type PeersByKey = ReadonlyMap<string, readonly ObservedWireguardPeer[]>;

export function wireguardTraffic(
  leases: readonly Lease[],
  staticPeers: readonly StaticPeer[],
  observed: ObservedObjects,
): RuntimeStatus {
  const found = observed("wireguardPeer");
  const byKey = Map.groupBy(found, ({ publicKey }) => publicKey);
  return {
    features: { implementation: observed("link").some(isOfProgram) ? "wireguard-go" : "kernel" },
    carried: bytesOf(found),
    dropped: {},
    peers: leases.flatMap((lease) => ofLease(lease, byKey)),
    ...(staticPeers.length > 0 && { staticPeers: staticPeers.flatMap((peer) => ofStaticPeer(peer, byKey)) }),
  };
}

function isOfProgram({ isUserspaceWireguard }: ObservedLink): boolean {
  return isUserspaceWireguard === true;
}

function ofLease({ key, attributes }: Lease, byKey: PeersByKey): RuntimeStatus["peers"] {
  const data = readWireguardData(attributes.backendData ?? attributes.backendV6Data);
  const found = "reason" in data ? [] : (byKey.get(data.publicKey) ?? []);
  return found.length === 0 ? [] : [{ key, ...bytesOf(found), ...latestOf(found) }];
}

function ofStaticPeer(
  { name, publicKey, allowedIps }: StaticPeer,
  byKey: PeersByKey,
): NonNullable<RuntimeStatus["staticPeers"]> {
  const found = byKey.get(publicKey) ?? [];
  return found.length === 0 ? [] : [{ name, publicKey, allowedIps, ...bytesOf(found), ...latestOf(found) }];
}

function bytesOf(peers: readonly ObservedWireguardPeer[]) {
  const total = (count: (peer: ObservedWireguardPeer) => number) => peers.reduce((sum, peer) => sum + count(peer), 0);
  return { sentBytes: total((peer) => peer.sentBytes), receivedBytes: total((peer) => peer.receivedBytes) };
}

/** A peer with a device for each family has a session on each: shown is where it last came from. */
function latestOf(peers: readonly ObservedWireguardPeer[]) {
  const { endpoint, lastHandshakeMs } = peers.reduce((a, b) =>
    (b.lastHandshakeMs ?? 0) > (a.lastHandshakeMs ?? 0) ? b : a,
  );
  return {
    ...(endpoint !== undefined && { endpoint: endpointText(endpoint) }),
    ...(lastHandshakeMs !== undefined && { lastHandshakeAt: new Date(lastHandshakeMs).toISOString() }),
  };
}
