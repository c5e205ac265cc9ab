// Addresses on links (RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR; struct ifaddrmsg). Pure.
import {
  addressBits,
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../../ip/address.ts";
import { AttributeReader } from "../attribute-reader.ts";
import type { MessageWriter } from "../message-writer.ts";
import { addressFamily, type Device, ipFamily, type NetlinkRequest, writeAddress, writeFlags } from "../request.ts";
import { ifa, nlm, rtm, rtnlGroup } from "../uapi.ts";
import type { AddressMessage } from "./messages.ts";
import { families, fits, type ObjectCodec } from "./object-codec.ts";

const HEADER_BYTES = 8;
/** IFA_F_NODAD. */
const NO_DUPLICATE_DETECTION = 0x02;

export const addressCodec: ObjectCodec<AddressMessage> = {
  newType: rtm.newAddress,
  deleteType: rtm.delAddress,
  groups: [rtnlGroup.ipv4Address, rtnlGroup.ipv6Address],
  decode: decodeAddress,
  queries: (filter) => families(filter).map((family) => (writer) => encodeAddressQuery(writer, family, filter.index)),
  fits: (message, filter) =>
    fits(filter.index, message.index) && fits(filter.family, message.address.includes(":") ? 6 : 4),
};

/**
 * Fails with `KERNEL_EXISTS` when the device has it. IPv4 networks wider than /31 get their broadcast address. An IPv6 address is this
 * host's at once, without duplicate address detection: it is out of a lease, and no tunnel carries the question to the others. For the
 * second or two of the detection the kernel would look for the address behind the device itself.
 */
export function addAddress(device: Device, address: Prefix): NetlinkRequest {
  return {
    encode: (writer) => encodeAddress(writer, rtm.newAddress, writeFlags.create, device.index, address),
    describe: () => `add address ${address} dev ${device.name}`,
  };
}

/** A missing address is rejected by the kernel with EADDRNOTAVAIL. */
export function deleteAddress(device: Device, address: Prefix): NetlinkRequest {
  return {
    encode: (writer) => encodeAddress(writer, rtm.delAddress, nlm.request, device.index, address),
    describe: () => `delete address ${address} dev ${device.name}`,
  };
}

/** `family` is AF_INET or AF_INET6; `index` undefined means all devices. */
function encodeAddressQuery(writer: MessageWriter, family: number, index: number | undefined): void {
  const start = writer.begin(rtm.getAddress, nlm.request | nlm.dump);
  writer.u32(family);
  writer.u32(index ?? 0);
  writer.end(start);
}

function decodeAddress(view: DataView, start: number, end: number): AddressMessage | undefined {
  if (start + HEADER_BYTES > end) return undefined;
  const family = ipFamily(view.getUint8(start));
  const length = view.getUint8(start + 1);
  if (family === undefined || length > addressBits(family)) return undefined;
  let flags = view.getUint8(start + 2);
  let local: AddressText;
  let address: AddressText;
  const reader = new AttributeReader(view, start + HEADER_BYTES, end);
  while (reader.next()) {
    if (reader.type === ifa.local) local = reader.address();
    else if (reader.type === ifa.address) address = reader.address();
    else if (reader.type === ifa.flags) flags = reader.u32() ?? flags;
  }
  // On a point-to-point link IFA_ADDRESS is the other end.
  const own = local ?? address;
  if (own === undefined || familyOf(own) !== family) return undefined;
  return {
    index: view.getUint32(start + 4, true),
    address: makePrefix(own, length),
    scope: view.getUint8(start + 3),
    flags,
  };
}

type AddressText = ReturnType<AttributeReader["address"]>;

function encodeAddress(writer: MessageWriter, type: number, flags: number, index: number, prefix: Prefix): void {
  const start = writer.begin(type, flags);
  const address = prefixAddress(prefix);
  const length = prefixLength(prefix);
  writer.u8(addressFamily(prefix));
  writer.u8(length);
  writer.u8(type === rtm.newAddress && familyOf(prefix) === 6 ? NO_DUPLICATE_DETECTION : 0);
  writer.u8(0); // scope
  writer.u32(index);
  writeAddress(writer, ifa.local, address);
  writeAddress(writer, ifa.address, address);
  if (familyOf(prefix) === 4 && length < 31) {
    const hostMask = (1n << BigInt(32 - length)) - 1n;
    writeAddress(writer, ifa.broadcast, addressFromBigInt(addressToBigInt(address) | hostMask, 4));
  }
  writer.end(start);
}
