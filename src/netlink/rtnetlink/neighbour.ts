// Neighbours (ARP, NDP) and the forwarding entries of vxlan devices: both RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH with
// struct ndmsg; a forwarding entry has family AF_BRIDGE. Pure.
import { type Address, familyOf } from "../../ip/address.ts";
import { AttributeReader } from "../attribute-reader.ts";
import type { MessageWriter } from "../message-writer.ts";
import {
  addressFamily,
  type Device,
  ipFamily,
  type NetlinkRequest,
  writeAddress,
  writeFlags,
  writeMac,
} from "../request.ts";
import { AF_BRIDGE, NTF_SELF, nda, nlm, nud, rtm, rtn, rtnlGroup } from "../uapi.ts";
import type { FdbMessage, NeighbourMessage } from "./messages.ts";
import { fits, type ObjectCodec, oneFamily } from "./object-codec.ts";

const HEADER_BYTES = 12;

export const neighbourCodec: ObjectCodec<NeighbourMessage> = {
  newType: rtm.newNeighbour,
  deleteType: rtm.delNeighbour,
  groups: [rtnlGroup.neighbour],
  decode: decodeNeighbour,
  queries: (filter) => [(writer) => encodeNeighbourQuery(writer, oneFamily(filter), filter.index)],
  fits: (neighbour, filter) => fits(filter.index, neighbour.index) && fits(filter.family, neighbour.family),
};

export const fdbCodec: ObjectCodec<FdbMessage> = {
  newType: rtm.newNeighbour,
  deleteType: rtm.delNeighbour,
  groups: [rtnlGroup.neighbour],
  decode: decodeFdb,
  queries: ({ index }) => [(writer) => encodeNeighbourQuery(writer, AF_BRIDGE, index)],
  fits: (entry, filter) => fits(filter.index, entry.index),
};

/** Creates or replaces a permanent neighbour. */
export function setNeighbour(device: Device, address: Address, mac: string): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginNeighbour(writer, rtm.newNeighbour, writeFlags.set, addressFamily(address), device, 0);
      writeAddress(writer, nda.destination, address);
      writeMac(writer, nda.linkLayerAddress, mac);
      writer.end(start);
    },
    describe: () => `set neighbour ${address} lladdr ${mac} dev ${device.name}`,
  };
}

/** A missing one is `KERNEL_NOT_FOUND`. */
export function deleteNeighbour(device: Device, address: Address): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginNeighbour(writer, rtm.delNeighbour, nlm.request, addressFamily(address), device, 0);
      writeAddress(writer, nda.destination, address);
      writer.end(start);
    },
    describe: () => `delete neighbour ${address} dev ${device.name}`,
  };
}

/** Creates or replaces the permanent entry that sends frames for `mac` to `destination`. */
export function setFdbEntry(device: Device, mac: string, destination: Address): NetlinkRequest {
  return {
    encode: (writer) => encodeFdb(writer, rtm.newNeighbour, writeFlags.set, device, mac, destination),
    describe: () => `set fdb ${mac} dst ${destination} dev ${device.name}`,
  };
}

/** A missing one is `KERNEL_NOT_FOUND`. */
export function deleteFdbEntry(device: Device, mac: string, destination: Address): NetlinkRequest {
  return {
    encode: (writer) => encodeFdb(writer, rtm.delNeighbour, nlm.request, device, mac, destination),
    describe: () => `delete fdb ${mac} dst ${destination} dev ${device.name}`,
  };
}

/** All neighbours of a family (AF_UNSPEC, AF_INET, AF_INET6, or AF_BRIDGE for forwarding entries). */
function encodeNeighbourQuery(writer: MessageWriter, family: number, index: number | undefined): void {
  const start = writer.begin(rtm.getNeighbour, nlm.request | nlm.dump);
  writer.u32(family);
  // Strict checking wants the device as attribute and this field 0.
  writer.zeros(8);
  if (index !== undefined) writer.u32Attribute(nda.interfaceIndex, index);
  writer.end(start);
}

/** Device of a neighbour message, without decoding the rest; undefined when it is too short. */
export function peekNeighbourIndex(view: DataView, start: number, end: number): number | undefined {
  return start + HEADER_BYTES > end ? undefined : view.getInt32(start + 4, true);
}

function decodeNeighbour(view: DataView, start: number, end: number): NeighbourMessage | undefined {
  if (start + HEADER_BYTES > end) return undefined;
  const family = ipFamily(view.getUint8(start));
  if (family === undefined) return undefined;
  let address: Address | undefined;
  let mac: string | undefined;
  const reader = new AttributeReader(view, start + HEADER_BYTES, end);
  while (reader.next()) {
    if (reader.type === nda.destination) address = reader.address();
    else if (reader.type === nda.linkLayerAddress) mac = reader.mac();
  }
  if (address === undefined || familyOf(address) !== family) return undefined;
  const index = view.getInt32(start + 4, true);
  const state = view.getUint16(start + 8, true);
  return mac === undefined ? { family, index, address, state } : { family, index, address, mac, state };
}

/**
 * Reads forwarding entries that send to another host. Undefined for all others: those of bridges (no NTF_SELF) and
 * the multicast filters of ordinary devices (no destination).
 */
function decodeFdb(view: DataView, start: number, end: number): FdbMessage | undefined {
  if (start + HEADER_BYTES > end || view.getUint8(start) !== AF_BRIDGE) return undefined;
  const flags = view.getUint8(start + 10);
  if ((flags & NTF_SELF) === 0) return undefined;
  let destination: Address | undefined;
  let mac: string | undefined;
  const reader = new AttributeReader(view, start + HEADER_BYTES, end);
  while (reader.next()) {
    if (reader.type === nda.destination) destination = reader.address();
    else if (reader.type === nda.linkLayerAddress) mac = reader.mac();
  }
  if (mac === undefined || destination === undefined) return undefined;
  return { index: view.getInt32(start + 4, true), mac, destination, state: view.getUint16(start + 8, true), flags };
}

function encodeFdb(
  writer: MessageWriter,
  type: number,
  flags: number,
  device: Device,
  mac: string,
  destination: Address,
): void {
  const start = beginNeighbour(writer, type, flags, AF_BRIDGE, device, NTF_SELF);
  writeMac(writer, nda.linkLayerAddress, mac);
  writeAddress(writer, nda.destination, destination);
  writer.end(start);
}

function beginNeighbour(
  writer: MessageWriter,
  type: number,
  flags: number,
  family: number,
  device: Device,
  neighbourFlags: number,
): number {
  const start = writer.begin(type, flags);
  writer.u32(family);
  writer.u32(device.index);
  writer.u16(nud.permanent);
  writer.u8(neighbourFlags);
  writer.u8(family === AF_BRIDGE ? 0 : rtn.unicast);
  return start;
}
