// IPv4 settings of our devices, which a device inherits from `net.ipv4.conf.default` when it is made: without forwarding it
// drops packets for containers, and strict reverse path filtering drops those whose replies would leave by another device.
// Written by netlink, so that a read-only /proc/sys does not matter. Never taken back: they go with the device.
import { changeDeviceSettings, type DeviceSettingsChange } from "../../netlink/rtnetlink/device-settings.ts";
import type { DeviceSettingsMessage } from "../../netlink/rtnetlink/messages.ts";
import { netconfa } from "../../netlink/uapi.ts";
import { type Change, type Deviation, type Host, type Kind, lookAt, type Watch } from "./kind.ts";
import { ownDeviceName } from "./links.ts";
import { inBatches } from "./programming.ts";

const STRICT = 1;
const LOOSE = 2;

/** What packets of containers need of a device of ours that carries IPv4. */
export interface HostDeviceSettings {
  readonly device: string;
}

interface ObservedSettings {
  readonly device: string;
  /** Of IPv4, on this device. */
  readonly forwarding: boolean;
  /** 0: off, 1: strict, 2: loose. In effect: of this device and of all devices, the kernel uses the larger value. */
  readonly rpFilter: number;
}

export const deviceSettingsKind: Kind<"deviceSettings", HostDeviceSettings, ObservedSettings> = {
  name: "deviceSettings",
  key: ({ device }) => device,
  observedKey: ({ device }) => device,
  compare: (_, { forwarding, rpFilter }) => (forwarding && rpFilter !== STRICT ? "same" : "replace"),
  isRemovable: () => false,
  line: ({ device }) => `${confText(device)}.forwarding = 1, rp_filter != ${STRICT}`,
  observedLine: ({ device, forwarding, rpFilter }) =>
    `${confText(device)}.forwarding = ${Number(forwarding)}, rp_filter = ${rpFilter}`,
  source: { look },
  notices: { deviceSettings: deviationOf },
  auditRound: 0,
  deviceOf: ({ device }) => device,
  standsOnDownDevice: true,
  program: inBatches({
    write: ({ device }, host) => changeDeviceSettings(host.links.require(device), neededChange(device, host)),
    // Never removed; whoever would ask for it changes nothing.
    remove: ({ device }, { links }) => changeDeviceSettings(links.require(device), {}),
    settled: ({ device }) => ({ device, forwarding: true, rpFilter: LOOSE }),
  }),
};

/** As `sysctl` prints it. */
function confText(device: string): string {
  return `net.ipv4.conf.${device.replaceAll(".", "/")}`;
}

/** A filter that is off stays off. */
function neededChange(device: string, { slots }: Host): DeviceSettingsChange {
  const isStrict = slots.get(deviceSettingsKind, device)?.observed?.rpFilter === STRICT;
  return { forwarding: true, ...(isStrict && { rpFilter: LOOSE }) };
}

async function look({ netlink, links, ownership }: Host): Promise<readonly ObservedSettings[]> {
  let ofAll = 0;
  const found: { device: string; forwarding: boolean; rpFilter: number }[] = [];
  const read = ({ index, forwarding = false, rpFilter = 0 }: DeviceSettingsMessage) => {
    if (index === netconfa.allDevices) ofAll = rpFilter;
    const device = ownDeviceName(index, links, ownership);
    return device === undefined ? undefined : { device, forwarding, rpFilter };
  };
  for (const settings of await netlink.dumpAs("deviceSettings", {}, read)) found.push(settings);
  return found.map((settings) => ({ ...settings, rpFilter: Math.max(settings.rpFilter, ofAll) }));
}

function deviationOf({ action, message }: Change<"deviceSettings">, watch: Watch): Deviation | undefined {
  const { links, ownership, slots } = watch.host;
  if (action === "delete") return undefined;
  if (message.index === netconfa.allDevices) {
    return message.rpFilter === STRICT ? lookAt(deviceSettingsKind) : undefined;
  }
  const device = ownDeviceName(message.index, links, ownership);
  if (device === undefined || (message.forwarding !== false && message.rpFilter !== STRICT)) return undefined;
  return watch.isResting(slots.get(deviceSettingsKind, device)) ? undefined : lookAt(deviceSettingsKind);
}
