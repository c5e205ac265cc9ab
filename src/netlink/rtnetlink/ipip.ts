// ipip and ip6tnl devices: creation, change, and their part of a link message (IFLA_IPTUN_* of linux/if_tunnel.h). Pure.
import type { Address } from "../../ip/address.ts";
import type { AttributeReader } from "../attribute-reader.ts";
import type { MessageWriter } from "../message-writer.ts";
import { type Device, type NetlinkRequest, writeAddress, writeFlags } from "../request.ts";
import { ifla, iflaIptun, nlm, rtm } from "../uapi.ts";
import { beginLink } from "./link.ts";
import type { IpipAttributes } from "./messages.ts";

export interface IpipSpec {
  /** At most 15 bytes (IFNAMSIZ). */
  readonly name: string;
  readonly mtuBytes: number;
  /** Outer source address. */
  readonly local: Address;
}

/** Linux: IP in IP, MPLS in IP, or (0) both. */
const ANY_PROTOCOL = 0;
const IPPROTO_IPV6 = 41;
/** No protocol that such a device carries. */
const IMPOSSIBLE_PROTOCOL = 255;

/** Creates the device, down, with the attributes that upstream gives it. Fails with `KERNEL_EXISTS` when the name is taken. */
export function createIpip({ name, mtuBytes, local }: IpipSpec): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginLink(writer, rtm.newLink, writeFlags.create, 0);
      writer.textAttribute(ifla.interfaceName, name);
      writer.u32Attribute(ifla.mtu, mtuBytes);
      writer.u32Attribute(ifla.txQueueLength, 0);
      writeIpipInfo(writer, local, ANY_PROTOCOL);
      writer.end(start);
    },
    describe: () => `add link ${name} type ipip local ${local}`,
  };
}

/** Gives a living device all settings that a new one would have. */
export function changeIpip(device: Device, local: Address): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginLink(writer, rtm.newLink, nlm.request, device.index);
      writeIpipInfo(writer, local, ANY_PROTOCOL);
      writer.end(start);
    },
    describe: () => `set link ${device.name} type ipip local ${local}`,
  };
}

/** Makes no device in any case: `KERNEL_UNSUPPORTED` from a kernel without such devices, another refusal from one with. */
export function probeIpip(): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginLink(writer, rtm.newLink, writeFlags.create, 0);
      writer.textAttribute(ifla.interfaceName, "flannel.probe");
      writeIpipInfo(writer, "127.0.0.1" as Address, IMPOSSIBLE_PROTOCOL);
      writer.end(start);
    },
    describe: () => "add link flannel.probe type ipip",
  };
}

export interface Ip6tnlSpec {
  /** At most 15 bytes (IFNAMSIZ). */
  readonly name: string;
  readonly mtuBytes: number;
}

/**
 * Creates the device, down: for IPv6 in IPv6, to where routes say (`external`; Linux 4.9). A network namespace has one such
 * device of either protocol: fails with `KERNEL_EXISTS` when there is another one, or the name is taken.
 */
export function createIp6tnl({ name, mtuBytes }: Ip6tnlSpec): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginLink(writer, rtm.newLink, writeFlags.create, 0);
      writer.textAttribute(ifla.interfaceName, name);
      writer.u32Attribute(ifla.mtu, mtuBytes);
      writer.u32Attribute(ifla.txQueueLength, 0);
      writeIp6tnlInfo(writer, IPPROTO_IPV6);
      writer.end(start);
    },
    describe: () => `add link ${name} type ip6tnl mode ip6ip6 external`,
  };
}

/** As `probeIpip`. */
export function probeIp6tnl(): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginLink(writer, rtm.newLink, writeFlags.create, 0);
      writer.textAttribute(ifla.interfaceName, "flannel.probe");
      writeIp6tnlInfo(writer, IMPOSSIBLE_PROTOCOL);
      writer.end(start);
    },
    describe: () => "add link flannel.probe type ip6tnl",
  };
}

/** Reads IFLA_INFO_DATA of an ipip or ip6tnl device. */
export function readIpip(reader: AttributeReader): IpipAttributes {
  const found: { -readonly [K in keyof IpipAttributes]: IpipAttributes[K] } = {
    ...{ ttl: 0, tos: 0, isPmtuDiscovered: false, protocol: 0, isEncapsulated: false, isExternal: false },
  };
  while (reader.next()) readIpipAttribute(reader, found);
  return found;
}

function readIpipAttribute(
  reader: AttributeReader,
  found: { -readonly [K in keyof IpipAttributes]: IpipAttributes[K] },
): void {
  switch (reader.type) {
    case iflaIptun.link: {
      const linkIndex = reader.u32() ?? 0;
      if (linkIndex !== 0) found.linkIndex = linkIndex;
      break;
    }
    case iflaIptun.local:
    case iflaIptun.remote: {
      const name = reader.type === iflaIptun.local ? "local" : "remote";
      const address = reader.address();
      if (address !== undefined && address !== "0.0.0.0" && address !== "::") found[name] = address;
      break;
    }
    case iflaIptun.ttl:
      found.ttl = reader.u8() ?? 0;
      break;
    case iflaIptun.tos:
      found.tos = reader.u8() ?? 0;
      break;
    case iflaIptun.protocol:
      found.protocol = reader.u8() ?? 0;
      break;
    case iflaIptun.pmtuDiscovery:
      found.isPmtuDiscovered = reader.u8() === 1;
      break;
    case iflaIptun.encapsulationType:
      found.isEncapsulated = (reader.u16() ?? 0) !== 0;
      break;
    case iflaIptun.collectMetadata:
      found.isExternal = true;
      break;
  }
}

function writeIp6tnlInfo(writer: MessageWriter, protocol: number): void {
  const linkInfo = writer.beginNest(ifla.linkInfo);
  writer.textAttribute(ifla.infoKind, "ip6tnl");
  const data = writer.beginNest(ifla.infoData);
  writer.u8Attribute(iflaIptun.protocol, protocol);
  writer.flagAttribute(iflaIptun.collectMetadata);
  writer.endNest(data);
  writer.endNest(linkInfo);
}

function writeIpipInfo(writer: MessageWriter, local: Address, protocol: number): void {
  const linkInfo = writer.beginNest(ifla.linkInfo);
  writer.textAttribute(ifla.infoKind, "ipip");
  const data = writer.beginNest(ifla.infoData);
  writeAddress(writer, iflaIptun.local, local);
  writer.u8Attribute(iflaIptun.ttl, 0);
  writer.u8Attribute(iflaIptun.tos, 0);
  writer.u8Attribute(iflaIptun.protocol, protocol);
  writer.u8Attribute(iflaIptun.pmtuDiscovery, 0);
  writer.endNest(data);
  writer.endNest(linkInfo);
}
