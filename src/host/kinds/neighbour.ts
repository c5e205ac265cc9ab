// Permanent neighbours (ARP, NDP) on devices of ours.
import type { Address } from "../../ip/address.ts";
import type { NeighbourMessage } from "../../netlink/rtnetlink/messages.ts";
import { deleteNeighbour, setNeighbour } from "../../netlink/rtnetlink/neighbour.ts";
import { nud } from "../../netlink/uapi.ts";
import { fdbKey, fdbKind } from "./fdb.ts";
import { type Change, type Deviation, type Host, type Kind, lookAt, type Watch } from "./kind.ts";
import { ownDeviceName } from "./links.ts";
import { onOwnDevices } from "./on-devices.ts";
import { inBatches } from "./programming.ts";

export interface HostNeighbour {
  readonly device: string;
  /** Next hop of a peer's routes. */
  readonly address: Address;
  /** Lower case, colons: of the peer's tunnel device. Permanent (NUD_PERMANENT). */
  readonly mac: string;
}

export const neighbourKind: Kind<"neighbour", HostNeighbour, HostNeighbour> = {
  name: "neighbour",
  key: neighbourKey,
  observedKey: neighbourKey,
  compare: (desired, observed) => (desired.mac === observed.mac ? "same" : "replace"),
  line: neighbourLine,
  observedLine: neighbourLine,
  source: onOwnDevices("neighbour", observedNeighbour, () => neighbourKind),
  notices: { neighbour: deviationOf },
  auditRound: 0,
  deviceOf: ({ device }) => device,
  // Frames for its MAC have to find their way too.
  requires: ({ device, mac, address }, slots) => [slots.get(fdbKind, fdbKey({ device, mac, destination: address }))],
  program: inBatches({
    write: ({ device, address, mac }, { links }) => setNeighbour(links.require(device), address, mac),
    remove: ({ device, address }, { links }) => deleteNeighbour(links.require(device), address),
    settled: (desired) => desired,
  }),
};

export function neighbourKey({ device, address }: Pick<HostNeighbour, "device" | "address">): string {
  return `${device} ${address}`;
}

/** As in `ip neigh`. */
function neighbourLine({ device, address, mac }: HostNeighbour): string {
  return `${address} dev ${device} lladdr ${mac} PERMANENT`;
}

function observedNeighbour(message: NeighbourMessage, { links, ownership }: Host): HostNeighbour | undefined {
  if ((message.state & nud.permanent) === 0 || message.mac === undefined) return undefined;
  const device = ownDeviceName(message.index, links, ownership);
  return device === undefined ? undefined : { device, address: message.address, mac: message.mac };
}

function deviationOf({ action, message }: Change<"neighbour">, watch: Watch): Deviation | undefined {
  const { links, ownership, slots } = watch.host;
  const device = ownDeviceName(message.index, links, ownership);
  if (device === undefined) return undefined;
  const slot = slots.get(neighbourKind, neighbourKey({ device, address: message.address }));
  if (watch.isResting(slot)) return undefined;
  if (action === "delete" || (message.state & nud.permanent) === 0) {
    return slot?.observed === undefined ? undefined : lookAt(neighbourKind);
  }
  const neighbour = observedNeighbour(message, watch.host);
  return neighbour === undefined || slot?.observed?.mac === neighbour.mac ? undefined : lookAt(neighbourKind);
}
