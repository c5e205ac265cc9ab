// Addresses on devices of ours.
import { familyOf, type Prefix } from "../../ip/address.ts";
import { addAddress, deleteAddress } from "../../netlink/rtnetlink/address.ts";
import type { AddressMessage } from "../../netlink/rtnetlink/messages.ts";
import { type Change, type Deviation, type Host, type Kind, lookAt, type Watch } from "./kind.ts";
import { ownDeviceName } from "./links.ts";
import { onOwnDevices } from "./on-devices.ts";
import { inBatches } from "./programming.ts";
import { routeKind } from "./route.ts";

/** One address on a device of ours. Other addresses of that family on the device are removed (IPv6 link-local stays). */
export interface HostAddress {
  readonly device: string;
  /** With its prefix length. */
  readonly address: Prefix;
}

export const addressKind: Kind<"address", HostAddress, HostAddress> = {
  name: "address",
  key: addressKey,
  observedKey: addressKey,
  compare: () => "same",
  isRemovable: (observed, slots) => {
    // Only where the plan puts an address of this family on the device are others of it in the way.
    for (const { desired } of slots.slots(addressKind)) {
      if (desired?.device === observed.device && familyOf(desired.address) === familyOf(observed.address)) return true;
    }
    return false;
  },
  line: addressLine,
  observedLine: addressLine,
  source: onOwnDevices("address", observedAddress, () => addressKind),
  notices: { address: deviationOf },
  auditRound: 0,
  deviceOf: ({ device }) => device,
  standsOnDownDevice: true,
  program: inBatches({
    write: ({ device, address }, { links }) => addAddress(links.require(device), address),
    remove: ({ device, address }, { links }) => deleteAddress(links.require(device), address),
    settled: (desired) => desired,
    mayExist: true,
  }),
};

function addressKey({ device, address }: HostAddress): string {
  return `${device} ${address}`;
}

/** As in `ip address`. */
function addressLine({ device, address }: HostAddress): string {
  return `${familyOf(address) === 4 ? "inet" : "inet6"} ${address} scope global ${device}`;
}

/** IPv6 link-local ones are the kernel's. */
function observedAddress(message: AddressMessage, { links, ownership }: Host): HostAddress | undefined {
  const device = ownDeviceName(message.index, links, ownership);
  if (device === undefined || /^fe[89ab]/.test(message.address)) return undefined;
  return { device, address: message.address };
}

function deviationOf({ action, message }: Change<"address">, watch: Watch): Deviation | undefined {
  const { links, slots } = watch.host;
  const address = observedAddress(message, watch.host);
  if (address === undefined) {
    const name = links.byIndex(message.index)?.name;
    const isWatched = name !== undefined && watch.watchedDevices.has(name);
    // The last address of a device takes its routes along without a notification.
    return isWatched ? { lookAt: [routeKind], isNewChance: true } : undefined;
  }
  const slot = slots.get(addressKind, addressKey(address));
  const isKnown = slot?.observed !== undefined;
  if ((action === "new") === isKnown || watch.isResting(slot)) return undefined;
  return lookAt(addressKind, routeKind);
}
