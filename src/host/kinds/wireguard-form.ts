// WireGuard's settings of our devices and their peers, as wanted and as found: comparison and text. Pure; the kinds are
// wireguard.ts and wireguard-peer.ts.
import type { Prefix } from "../../ip/address.ts";
import {
  type Endpoint,
  endpointText,
  isSameEndpoint,
  type PeerChange,
  type PeerState,
} from "../../netlink/genetlink/wireguard-device.ts";

/** What a device is: its key and its port. */
export interface HostWireguard {
  readonly device: string;
  /** Secret, base64 of 32 bytes. */
  readonly privateKey: string;
  readonly publicKey: string;
  /** UDP port, 1 to 65,535. */
  readonly listenPort: number;
}

export interface ObservedWireguard {
  readonly device: string;
  /** Missing: it has no key. */
  readonly publicKey?: string;
  /** 0: while it is down and was not given one. */
  readonly listenPort: number;
}

export interface HostWireguardPeer {
  readonly device: string;
  readonly publicKey: string;
  /** Missing: it is learned from the peer's packets. */
  readonly endpoint?: Endpoint;
  /** Secret, base64 of 32 bytes. */
  readonly presharedKey?: string;
  /** Why the pre-shared key is not known: the peer keeps the one that it has, and is not made without. */
  readonly presharedKeyProblem?: string;
  /** Up to 65,535; 0: none are sent. */
  readonly keepaliveSeconds: number;
  /** Sources that are accepted of it and destinations that go to it; a prefix belongs to one peer of the device. */
  readonly allowedIps: readonly Prefix[];
}

export interface ObservedWireguardPeer extends PeerState {
  readonly device: string;
  /** Its packets come from `endpoint` now, and not from where it is configured to be: that stays while they do. */
  readonly roamedFrom?: Endpoint;
}

/** A session ends 180 s after its handshake (WireGuard, REJECT_AFTER_TIME); one in use makes a new one every 120 s. */
const SESSION_MS = 180_000;

export function wireguardChanges(
  desired: HostWireguard,
  observed: ObservedWireguard | undefined,
): { readonly privateKey?: string; readonly listenPort?: number } {
  return {
    ...(observed?.publicKey !== desired.publicKey && { privateKey: desired.privateKey }),
    ...(observed?.listenPort !== desired.listenPort && { listenPort: desired.listenPort }),
  };
}

export function wireguardLine({ device, publicKey, listenPort }: ObservedWireguard): string {
  return `wg ${device} public-key ${publicKey ?? "(none)"} listen-port ${listenPort}`;
}

/** What has to change of a peer; without any field: nothing. A peer that is not there yet gets everything. */
export function peerChanges(
  desired: HostWireguardPeer,
  observed: ObservedWireguardPeer | undefined,
): Omit<PeerChange, "publicKey" | "remove"> {
  const { presharedKey, presharedKeyProblem, keepaliveSeconds, allowedIps, endpoint } = desired;
  const isOtherKey = presharedKeyProblem === undefined && observed?.presharedKey !== presharedKey;
  return {
    ...(isOtherKey && { presharedKey: presharedKey ?? null }),
    ...(endpoint !== undefined && !isRightEndpoint(endpoint, observed) && { endpoint }),
    ...(observed?.keepaliveSeconds !== keepaliveSeconds && { keepaliveSeconds }),
    ...(!isSameList(observed?.allowedIps ?? [], allowedIps) && { allowedIps }),
  };
}

function isRightEndpoint(endpoint: Endpoint, observed: ObservedWireguardPeer | undefined): boolean {
  if (isSameEndpoint(endpoint, observed?.endpoint)) return true;
  return observed?.roamedFrom !== undefined && isSameEndpoint(endpoint, observed.roamedFrom);
}

function isSameList(a: readonly Prefix[], b: readonly Prefix[]): boolean {
  if (a.length !== b.length) return false;
  if (a.length <= 1) return a[0] === b[0];
  const found = new Set(a);
  return b.every((prefix) => found.has(prefix));
}

/** As `wg` takes it, without secrets. */
export function peerLine(peer: HostWireguardPeer | ObservedWireguardPeer): string {
  const { device, publicKey, endpoint, keepaliveSeconds, allowedIps } = peer;
  const parts = [`wg ${device} peer ${publicKey}`];
  const isKeyUnread = "presharedKeyProblem" in peer && peer.presharedKeyProblem !== undefined;
  if (peer.presharedKey !== undefined || isKeyUnread) parts.push("preshared-key (hidden)");
  if (endpoint !== undefined) parts.push(`endpoint ${endpointText(endpoint)}`);
  if (keepaliveSeconds !== 0) parts.push(`persistent-keepalive ${keepaliveSeconds}`);
  parts.push(`allowed-ips ${allowedIps.join(",") || "(none)"}`);
  return parts.join(" ");
}

/**
 * Whether a peer that is found at another endpoint than `written` has moved there by itself: its session is fresh, and
 * packets came from it since it was last seen at the old one. A change of the endpoint by hand causes none.
 */
export function hasRoamed(
  now: PeerState,
  before: PeerState | undefined,
  written: Endpoint | undefined,
  nowMs: number,
): boolean {
  if (written === undefined || now.endpoint === undefined || isSameEndpoint(now.endpoint, written)) return false;
  if (now.lastHandshakeMs === undefined || nowMs - now.lastHandshakeMs > SESSION_MS) return false;
  if (before === undefined || isSameEndpoint(before.endpoint, now.endpoint)) return true;
  return now.receivedBytes > before.receivedBytes;
}
