// Key and port of our WireGuard devices. The kernel tells nobody of their changes: the peers' kind looks for them, too.
import type { DeviceState } from "../../netlink/genetlink/wireguard-device.ts";
import { changeDevice, readDevice, type ServedBy } from "../../wireguard/device-control.ts";
import type { Host, Kind } from "./kind.ts";
import { oneByOne } from "./programming.ts";
import { type HostWireguard, type ObservedWireguard, wireguardChanges, wireguardLine } from "./wireguard-form.ts";

export const wireguardKind: Kind<"wireguard", HostWireguard, ObservedWireguard> = {
  name: "wireguard",
  key: ({ device }) => device,
  observedKey: ({ device }) => device,
  compare: (desired, observed) => (Object.keys(wireguardChanges(desired, observed)).length === 0 ? "same" : "replace"),
  isRemovable: () => false,
  line: wireguardLine,
  observedLine: wireguardLine,
  source: {
    look: async (host) => {
      const found: ObservedWireguard[] = [];
      for (const { device, state } of await readDevices(host)) found.push(observedWireguard(device, state));
      return found;
    },
  },
  notices: {},
  auditRound: 0,
  deviceOf: ({ device }) => device,
  standsOnDownDevice: true,
  program: oneByOne(async ({ slot }, host) => {
    const { desired, observed } = slot;
    if (desired === undefined) return;
    const { device, publicKey, listenPort } = desired;
    await changeDevice(device, wireguardChanges(desired, observed), servedBy(device, host));
    slot.observed = { device, publicKey, listenPort };
  }),
};

/**
 * Those that exist. One that cannot be read is left out: what is written to it fails then, too, and says why. All else
 * on this host is looked at nevertheless.
 */
export async function readDevices(host: Host): Promise<{ readonly device: string; readonly state: DeviceState }[]> {
  const found: { device: string; state: DeviceState }[] = [];
  for (const { desired } of host.slots.slots(wireguardKind)) {
    if (desired === undefined || host.links.byName(desired.device) === undefined) continue;
    const { device } = desired;
    const state = await readDevice(device, servedBy(device, host)).catch(() => undefined);
    if (state !== undefined) found.push({ device, state });
  }
  return found;
}

/** The kernel's devices are of the kind `wireguard`; those of a program are TUN devices. */
export function servedBy(device: string, { links }: Host): ServedBy {
  return links.require(device).kind === "wireguard" ? "kernel" : "userspace";
}

export function observedWireguard(device: string, { publicKey, listenPort }: DeviceState): ObservedWireguard {
  return { device, listenPort, ...(publicKey === undefined ? {} : { publicKey }) };
}
