// vxlan devices: creation, change, and their part of a link message (IFLA_VXLAN_* of linux/if_link.h). Pure.
import { type Address, familyOf } from "../../ip/address.ts";
import type { AttributeReader } from "../attribute-reader.ts";
import type { MessageWriter } from "../message-writer.ts";
import { type Device, type NetlinkRequest, writeAddress, writeFlags, writeMac } from "../request.ts";
import { ifla, iflaVxlan, nlm, rtm } from "../uapi.ts";
import { beginLink } from "./link.ts";
import type { VxlanAttributes } from "./messages.ts";

export interface VxlanSpec {
  /** At most 15 bytes (IFNAMSIZ). */
  readonly name: string;
  readonly mac: string;
  readonly mtuBytes: number;
  readonly vni: number;
  /** 0 = the kernel's default. */
  readonly port: number;
  /** Outer source address. */
  readonly local: Address;
  readonly underlayIndex: number;
  readonly learning: boolean;
  readonly gbp: boolean;
}

/** Creates the device, down, with the attributes flannel gives it. Fails with `KERNEL_EXISTS` when the name is taken. */
export function createVxlan(spec: VxlanSpec): NetlinkRequest {
  return {
    encode: (writer) => encodeVxlan(writer, spec),
    describe: () =>
      `add link ${spec.name} type vxlan id ${spec.vni} local ${spec.local} dev index ${spec.underlayIndex}`,
  };
}

/** What can be changed on a living vxlan device; what is missing stays. `local` must keep its family. */
export interface VxlanChange {
  readonly local?: Address;
  readonly underlayIndex?: number;
  readonly learning?: boolean;
}

export function changeVxlan(device: Device, change: VxlanChange): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginLink(writer, rtm.newLink, nlm.request, device.index);
      writeVxlanInfo(writer, () => {
        if (change.underlayIndex !== undefined) writer.u32Attribute(iflaVxlan.link, change.underlayIndex);
        if (change.local !== undefined) writeLocal(writer, change.local);
        if (change.learning !== undefined) writer.u8Attribute(iflaVxlan.learning, Number(change.learning));
      });
      writer.end(start);
    },
    describe: () => `set link ${device.name} type vxlan${changeText(change)}`,
  };
}

/** Reads IFLA_INFO_DATA of a vxlan device. */
export function readVxlan(reader: AttributeReader): VxlanAttributes {
  const found: { -readonly [K in keyof VxlanAttributes]: VxlanAttributes[K] } = {
    vni: 0,
    port: 0,
    learning: false,
    gbp: false,
    l2miss: false,
    l3miss: false,
  };
  while (reader.next()) readVxlanAttribute(reader, found);
  return found;
}

function readVxlanAttribute(
  reader: AttributeReader,
  found: { -readonly [K in keyof VxlanAttributes]: VxlanAttributes[K] },
): void {
  switch (reader.type) {
    case iflaVxlan.id:
      found.vni = reader.u32() ?? 0;
      break;
    case iflaVxlan.link: {
      const linkIndex = reader.u32() ?? 0;
      if (linkIndex !== 0) found.linkIndex = linkIndex;
      break;
    }
    case iflaVxlan.local:
    case iflaVxlan.local6: {
      const local = reader.address();
      if (local !== undefined) found.local = local;
      break;
    }
    case iflaVxlan.group:
    case iflaVxlan.group6: {
      const group = reader.address();
      if (group !== undefined) found.group = group;
      break;
    }
    case iflaVxlan.port:
      found.port = reader.u16BigEndian() ?? 0;
      break;
    case iflaVxlan.learning:
      found.learning = reader.u8() === 1;
      break;
    case iflaVxlan.l2miss:
      found.l2miss = reader.u8() === 1;
      break;
    case iflaVxlan.l3miss:
      found.l3miss = reader.u8() === 1;
      break;
    case iflaVxlan.gbp:
      found.gbp = true;
      break;
    case iflaVxlan.collectMetadata:
      if (reader.u8() === 1) found.isExternal = true;
      break;
  }
}

function encodeVxlan(writer: MessageWriter, spec: VxlanSpec): void {
  const start = beginLink(writer, rtm.newLink, writeFlags.create, 0);
  writer.textAttribute(ifla.interfaceName, spec.name);
  writer.u32Attribute(ifla.mtu, spec.mtuBytes);
  writer.u32Attribute(ifla.txQueueLength, 0);
  writeMac(writer, ifla.address, spec.mac);
  writeVxlanInfo(writer, () => {
    writer.u32Attribute(iflaVxlan.id, spec.vni);
    writer.u32Attribute(iflaVxlan.link, spec.underlayIndex);
    writeLocal(writer, spec.local);
    writer.u8Attribute(iflaVxlan.ttl, 0);
    writer.u8Attribute(iflaVxlan.tos, 0);
    writer.u8Attribute(iflaVxlan.learning, Number(spec.learning));
    writer.u8Attribute(iflaVxlan.proxy, 0);
    writer.u8Attribute(iflaVxlan.rsc, 0);
    writer.u8Attribute(iflaVxlan.l2miss, 0);
    writer.u8Attribute(iflaVxlan.l3miss, 0);
    writer.u8Attribute(iflaVxlan.udpZeroCsum6Tx, 0);
    writer.u8Attribute(iflaVxlan.udpZeroCsum6Rx, 0);
    if (spec.port > 0) writer.u16BigEndianAttribute(iflaVxlan.port, spec.port);
    if (spec.gbp) writer.flagAttribute(iflaVxlan.gbp);
  });
  writer.end(start);
}

function writeVxlanInfo(writer: MessageWriter, writeData: () => void): void {
  const linkInfo = writer.beginNest(ifla.linkInfo);
  writer.textAttribute(ifla.infoKind, "vxlan");
  const data = writer.beginNest(ifla.infoData);
  writeData();
  writer.endNest(data);
  writer.endNest(linkInfo);
}

function writeLocal(writer: MessageWriter, local: Address): void {
  writeAddress(writer, familyOf(local) === 4 ? iflaVxlan.local : iflaVxlan.local6, local);
}

function changeText(change: VxlanChange): string {
  const local = change.local === undefined ? "" : ` local ${change.local}`;
  const underlay = change.underlayIndex === undefined ? "" : ` dev index ${change.underlayIndex}`;
  return `${local}${underlay}${change.learning === undefined ? "" : change.learning ? " learning" : " nolearning"}`;
}
