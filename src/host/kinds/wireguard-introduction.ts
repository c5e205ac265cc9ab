// A host that changed its key is a new peer whose session has to begin at once, since its packets wait for it; so has that of
// a peer that another program removed. Therefore this host calls first. When both sides call at the same moment, or the other one has
// not taken its new key yet, that call is in vain, and WireGuard would try again after five seconds (REKEY_TIMEOUT): here the
// peer is recreated, which lets it call at once.
import { setTimeout as delay } from "node:timers/promises";
import type { PeerChange } from "../../netlink/genetlink/wireguard-device.ts";
import { changeDevice, readDevice, type ServedBy } from "../../wireguard/device-control.ts";
import type { Slot } from "./kind.ts";
import { type HostWireguardPeer, type ObservedWireguardPeer, peerChanges } from "./wireguard-form.ts";

type PeerSlot = Slot<HostWireguardPeer, ObservedWireguardPeer>;

/** After the first call. In all less than the five seconds after which WireGuard calls again by itself. */
const CALL_AGAIN_AFTER_MS = [150, 300, 450, 600, 900, 1_200] as const;
/** Any interval makes a peer call when it is set. */
const CALLING_KEEPALIVE_SECONDS = 25;

/** Slots whose subnets another peer of this device has so far: the host has another key now. */
export function successors(added: readonly PeerSlot[], present: Iterable<PeerSlot>, device: string): PeerSlot[] {
  if (added.length === 0) return [];
  const holders = new Set<string>();
  for (const { desired, observed } of present) {
    if (desired !== undefined || observed?.device !== device) continue;
    for (const prefix of observed.allowedIps) holders.add(prefix);
  }
  return added.filter(({ desired }) => desired?.allowedIps.some((prefix) => holders.has(prefix)) === true);
}

/** The change that makes the peer and lets it call; `quiet` has to follow where the peer is to be silent. */
export function calling(peer: HostWireguardPeer): PeerChange {
  const keepaliveSeconds = peer.keepaliveSeconds || CALLING_KEEPALIVE_SECONDS;
  return { publicKey: peer.publicKey, ...peerChanges(peer, undefined), keepaliveSeconds };
}

export function quiet({ publicKey, keepaliveSeconds }: HostWireguardPeer): PeerChange[] {
  return keepaliveSeconds === 0 ? [{ publicKey, keepaliveSeconds }] : [];
}

/** Follows new peers until each has a session. Never rejects: what fails here, WireGuard does later. */
export async function introduce(
  device: string,
  slots: readonly PeerSlot[],
  servedBy: ServedBy,
  signal: AbortSignal,
): Promise<void> {
  let waiting = slots;
  for (const waitMs of CALL_AGAIN_AFTER_MS) {
    try {
      await delay(waitMs, undefined, { signal, ref: false });
      waiting = await withoutSession(device, waiting, servedBy);
      const peers = waiting.flatMap(({ desired }) => desired ?? []);
      if (peers.length === 0) return;
      const recreated = peers.flatMap((peer): PeerChange[] => [
        { publicKey: peer.publicKey, remove: true },
        calling(peer),
      ]);
      await changeDevice(device, { peers: recreated }, servedBy);
      await changeDevice(device, { peers: peers.flatMap(quiet) }, servedBy);
    } catch {
      if (signal.aborted) return;
    }
  }
}

/** Those that are still wanted and whose host has not answered. */
async function withoutSession(
  device: string,
  slots: readonly PeerSlot[],
  servedBy: ServedBy,
): Promise<readonly PeerSlot[]> {
  const { peers } = await readDevice(device, servedBy);
  const silent = new Set(
    peers.filter(({ lastHandshakeMs }) => lastHandshakeMs === undefined).map(({ publicKey }) => publicKey),
  );
  return slots.filter(
    ({ desired }) => desired?.presharedKeyProblem === undefined && silent.has(desired?.publicKey ?? ""),
  );
}
