// Peers of our WireGuard devices. All peers of such a device are ours. A peer that moves to another address tells the
// device by its packets: that endpoint stays while they come.
import { asFlannelError, FlannelError } from "../../errors.ts";
import type { DeviceState, Endpoint, PeerChange } from "../../netlink/genetlink/wireguard-device.ts";
import { changeDevice } from "../../wireguard/device-control.ts";
import type { Host, Kind, Operation, ProgramFailure, Slot } from "./kind.ts";
import { observedWireguard, readDevices, servedBy, wireguardKind } from "./wireguard.ts";
import {
  type HostWireguardPeer,
  hasRoamed,
  type ObservedWireguardPeer,
  peerChanges,
  peerLine,
} from "./wireguard-form.ts";
import { calling, introduce, quiet, successors } from "./wireguard-introduction.ts";

type PeerSlot = Slot<HostWireguardPeer, ObservedWireguardPeer>;
type PeerOperation = Operation<HostWireguardPeer, ObservedWireguardPeer>;

/** The endpoints that we wrote last, by slot. */
class WrittenEndpoints {
  readonly bySlot = new WeakMap<PeerSlot, Endpoint>();
}

export const wireguardPeerKind: Kind<"wireguardPeer", HostWireguardPeer, ObservedWireguardPeer> = {
  name: "wireguardPeer",
  key: peerKey,
  observedKey: peerKey,
  compare: (desired, observed) => (Object.keys(peerChanges(desired, observed)).length === 0 ? "same" : "replace"),
  line: peerLine,
  observedLine: peerLine,
  source: {
    look: async (host) => {
      const found: ObservedWireguardPeer[] = [];
      for (const { device, state } of await readDevices(host)) found.push(...observedPeers(device, state, host));
      return found;
    },
  },
  notices: {},
  hasDeviated,
  auditRound: 1,
  deviceOf: ({ device }) => device,
  standsOnDownDevice: true,
  requires: ({ device }, slots) => [slots.get(wireguardKind, device)],
  program,
};

function peerKey({ device, publicKey }: { readonly device: string; readonly publicKey: string }): string {
  return `${device} ${publicKey}`;
}

function observedPeers(device: string, { peers }: DeviceState, { slots, memory }: Host): ObservedWireguardPeer[] {
  const { bySlot } = memory.of(WrittenEndpoints);
  const nowMs = Date.now();
  return peers.map((peer) => {
    const slot = slots.get(wireguardPeerKind, peerKey({ device, ...peer }));
    if (slot === undefined) return { device, ...peer };
    // After a restart nothing is known of what was written: a peer with a session is where it is.
    const written = bySlot.get(slot) ?? slot.desired?.endpoint;
    const isElsewhere = hasRoamed(peer, slot.observed, written, nowMs);
    return isElsewhere && written !== undefined ? { device, ...peer, roamedFrom: written } : { device, ...peer };
  });
}

/** Looks at devices and peers, and keeps what is as it should be up to date: counters, handshakes, endpoints. */
async function hasDeviated(host: Host): Promise<boolean> {
  let isAsKnown = true;
  for (const { device, state } of await readDevices(host)) {
    const desired = host.slots.get(wireguardKind, device)?.desired;
    const found = observedWireguard(device, state);
    if (desired !== undefined && wireguardKind.compare(desired, found, new Set()) !== "same") isAsKnown = false;
    if (!arePeersAsKnown(device, observedPeers(device, state, host), host)) isAsKnown = false;
  }
  return !isAsKnown;
}

/** Looks at all, also behind the first that deviates: see above. */
function arePeersAsKnown(device: string, peers: Iterable<ObservedWireguardPeer>, host: Host): boolean {
  const missing = new Set<PeerSlot>();
  for (const slot of host.slots.slots(wireguardPeerKind)) {
    if (slot.observed?.device === device) missing.add(slot);
  }
  let isAsKnown = true;
  for (const peer of peers) {
    const slot = host.slots.get(wireguardPeerKind, peerKey(peer));
    if (slot !== undefined) missing.delete(slot);
    if (slot !== undefined && isAsBefore(slot, peer)) slot.observed = peer;
    else isAsKnown = false;
  }
  return isAsKnown && missing.size === 0;
}

function isAsBefore({ desired, observed }: PeerSlot, now: ObservedWireguardPeer): boolean {
  if (observed === undefined) return false;
  return desired === undefined || wireguardPeerKind.compare(desired, now, new Set()) === "same";
}

async function program(
  operations: readonly PeerOperation[],
  host: Host,
  signal: AbortSignal,
): Promise<ProgramFailure[]> {
  const failures = operations.flatMap(({ slot }) => keyless(slot));
  const refused = new Set(failures.map(({ slot }) => slot));
  const possible = operations.filter(({ slot }) => !refused.has(slot));
  for (const [device, group] of Map.groupBy(possible, ({ slot }) => deviceOf(slot))) {
    try {
      await write(device, group, host, signal);
    } catch (error) {
      if (group.length === 1) failures.push(...failed(group, error));
      else for (const operation of group) failures.push(...(await writeAlone(device, operation, host, signal)));
    }
  }
  return failures;
}

/** A new peer waits for its pre-shared key: without it the other side would not answer, or one that should not would. */
function keyless(slot: PeerSlot): ProgramFailure[] {
  const problem = slot.desired?.presharedKeyProblem;
  if (problem === undefined || slot.observed !== undefined) return [];
  const message = `the peer's pre-shared key is not known: ${problem}`;
  return [{ slot, error: new FlannelError("FILE_FAILED", message, { retryable: true }) }];
}

/** One that is refused does not stop the others. */
async function writeAlone(
  device: string,
  operation: PeerOperation,
  host: Host,
  signal: AbortSignal,
): Promise<ProgramFailure[]> {
  try {
    await write(device, [operation], host, signal);
    return [];
  } catch (error) {
    return failed([operation], error);
  }
}

function failed(operations: readonly PeerOperation[], error: unknown): ProgramFailure[] {
  return operations.map(({ slot }) => ({ slot, error: asFlannelError(error) }));
}

async function write(
  device: string,
  operations: readonly PeerOperation[],
  host: Host,
  signal: AbortSignal,
): Promise<void> {
  const served = servedBy(device, host);
  const added = operations.map(({ slot }) => slot).filter(isNew);
  const { bySlot } = host.memory.of(WrittenEndpoints);
  // One that was removed has a session on the other side still, which sends by it for 15 s.
  const putBack = added.filter((slot) => bySlot.has(slot));
  const callers = new Set([...putBack, ...successors(added, host.slots.slots(wireguardPeerKind), device)]);
  const change = (slot: PeerSlot) =>
    slot.desired !== undefined && callers.has(slot) ? calling(slot.desired) : changeOf(slot);
  await changeDevice(device, { peers: operations.map(({ slot }) => change(slot)) }, served);
  if (callers.size > 0) {
    const peers = [...callers].flatMap(({ desired }) => (desired === undefined ? [] : quiet(desired)));
    await changeDevice(device, { peers }, served);
    introduce(device, [...callers], served, signal).catch(() => undefined);
  }
  for (const { slot } of operations) {
    const { desired, observed } = slot;
    if (desired === undefined) {
      slot.observed = undefined;
      continue;
    }
    if (desired.endpoint !== undefined) bySlot.set(slot, desired.endpoint);
    slot.observed = settled(desired, observed);
  }
}

function isNew({ desired, observed }: PeerSlot): boolean {
  return desired !== undefined && observed === undefined;
}

function changeOf({ desired, observed }: PeerSlot): PeerChange {
  const publicKey = desired?.publicKey ?? observed?.publicKey ?? "";
  return desired === undefined ? { publicKey, remove: true } : { publicKey, ...peerChanges(desired, observed) };
}

function settled(desired: HostWireguardPeer, observed: ObservedWireguardPeer | undefined): ObservedWireguardPeer {
  const counters = { receivedBytes: 0, sentBytes: 0, ...observed };
  const { presharedKey: known, endpoint: _endpoint, roamedFrom: _from, ...kept } = counters;
  const { presharedKeyProblem, ...wanted } = desired;
  const presharedKey = presharedKeyProblem === undefined ? wanted.presharedKey : known;
  const endpoint = peerChanges(desired, observed).endpoint ?? observed?.endpoint;
  const roamedFrom = endpoint === observed?.endpoint ? observed?.roamedFrom : undefined;
  return {
    ...kept,
    ...wanted,
    ...(presharedKey === undefined ? {} : { presharedKey }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(roamedFrom === undefined ? {} : { roamedFrom }),
  };
}

function deviceOf({ desired, observed }: PeerSlot): string {
  return desired?.device ?? observed?.device ?? "";
}
