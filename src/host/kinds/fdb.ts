// Permanent forwarding entries of vxlan devices of ours: frames to `mac` go to `destination`.
import type { Address } from "../../ip/address.ts";
import type { FdbMessage } from "../../netlink/rtnetlink/messages.ts";
import { deleteFdbEntry, setFdbEntry } from "../../netlink/rtnetlink/neighbour.ts";
import { nud } from "../../netlink/uapi.ts";
import { type Change, type Deviation, type Host, type Kind, lookAt, type Watch } from "./kind.ts";
import { ownDeviceName } from "./links.ts";
import { onOwnDevices } from "./on-devices.ts";
import { inBatches } from "./programming.ts";

export interface HostFdbEntry {
  /** A vxlan device. */
  readonly device: string;
  /** Lower case, colons. */
  readonly mac: string;
  /** Of the outer packets: the peer's public address. */
  readonly destination: Address;
}

export const fdbKind: Kind<"fdb", HostFdbEntry, HostFdbEntry> = {
  name: "fdb",
  key: fdbKey,
  observedKey: fdbKey,
  compare: (desired, observed) => (desired.destination === observed.destination ? "same" : "replace"),
  line: fdbLine,
  observedLine: fdbLine,
  source: onOwnDevices("fdb", observedFdbEntry, () => fdbKind),
  notices: { fdb: deviationOf },
  auditRound: 1,
  deviceOf: ({ device }) => device,
  program: inBatches({
    write: ({ device, mac, destination }, { links }) => setFdbEntry(links.require(device), mac, destination),
    remove: ({ device, mac, destination }, { links }) => deleteFdbEntry(links.require(device), mac, destination),
    settled: (desired) => desired,
  }),
};

/** A unicast MAC has one destination; zero and group addresses may have many (vxlan_fdb_append), each an object. */
export function fdbKey({ device, mac, destination }: HostFdbEntry): string {
  const key = `${device} ${mac}`;
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1 || mac === "00:00:00:00:00:00"
    ? `${key} ${destination}`
    : key;
}

/** As in `bridge fdb`. */
function fdbLine({ device, mac, destination }: HostFdbEntry): string {
  return `${mac} dev ${device} dst ${destination} self permanent`;
}

/** A static entry; those the device learned come and go by themselves. */
function observedFdbEntry(message: FdbMessage, { links, ownership }: Host): HostFdbEntry | undefined {
  if ((message.state & (nud.permanent | nud.noArp)) === 0 || message.destination === undefined) return undefined;
  const device = ownDeviceName(message.index, links, ownership);
  return device === undefined ? undefined : { device, mac: message.mac, destination: message.destination };
}

function deviationOf({ action, message }: Change<"fdb">, watch: Watch): Deviation | undefined {
  const entry = observedFdbEntry(message, watch.host);
  if (entry === undefined) return undefined;
  const slot = watch.host.slots.get(fdbKind, fdbKey(entry));
  if (watch.isResting(slot)) return undefined;
  const isKnown = slot?.observed?.destination === entry.destination;
  return isKnown === (action === "new") ? undefined : lookAt(fdbKind);
}
