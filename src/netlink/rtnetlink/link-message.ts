// Reads and asks for link messages (RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK). Pure.
import { AttributeReader } from "../attribute-reader.ts";
import { AF_UNSPEC, iff, ifla, rtm, rtnlGroup } from "../uapi.ts";
import { readIpip } from "./ipip.ts";
import { encodeLinkQuery } from "./link.ts";
import type { IpipAttributes, LinkMessage, VxlanAttributes } from "./messages.ts";
import { fits, type ObjectCodec } from "./object-codec.ts";
import { readVxlan } from "./vxlan.ts";

/** struct ifinfomsg */
const HEADER_BYTES = 16;
const ARPHRD_ETHER = 1;

export const linkCodec: ObjectCodec<LinkMessage> = {
  newType: rtm.newLink,
  deleteType: rtm.delLink,
  groups: [rtnlGroup.link],
  decode: decodeLink,
  queries: ({ index }) => [(writer) => encodeLinkQuery(writer, index)],
  fits: (link, filter) => fits(filter.index, link.index),
};

/**
 * Undefined for what cannot be read, and for messages of other families: a bridge reports a port that leaves it as
 * RTM_DELLINK of family AF_BRIDGE while the device lives on.
 */
function decodeLink(view: DataView, start: number, end: number): LinkMessage | undefined {
  if (start + HEADER_BYTES > end || view.getUint8(start) !== AF_UNSPEC) return undefined;
  const flags = view.getUint32(start + 8, true);
  let name: string | undefined;
  let mtuBytes = 0;
  let mac: string | undefined;
  let masterIndex: number | undefined;
  let linkIndex: number | undefined;
  let info: LinkInfo = {};
  let altNames: readonly string[] = [];
  const reader = new AttributeReader(view, start + HEADER_BYTES, end);
  while (reader.next()) {
    switch (reader.type) {
      case ifla.interfaceName:
        name = reader.text();
        break;
      case ifla.mtu:
        mtuBytes = reader.u32() ?? 0;
        break;
      case ifla.address:
        mac = reader.mac();
        break;
      case ifla.link:
        linkIndex = reader.u32();
        break;
      case ifla.master:
        masterIndex = reader.u32();
        break;
      case ifla.linkInfo:
        info = readLinkInfo(reader.nested());
        break;
      case ifla.propertyList:
        altNames = readAltNames(reader.nested());
        break;
    }
  }
  if (name === undefined) return undefined;
  return {
    index: view.getInt32(start + 4, true),
    name,
    ...(altNames.length === 0 ? {} : { altNames }),
    mtuBytes,
    ...(mac === undefined ? {} : { mac }),
    ...(masterIndex === undefined ? {} : { masterIndex }),
    ...(info.kind === "veth" && linkIndex !== undefined && { peerIndex: linkIndex }),
    ...info,
    isUp: (flags & iff.up) !== 0,
    isRunning: (flags & iff.running) !== 0,
    isLoopback: (flags & iff.loopback) !== 0,
    ...((flags & iff.noArp) !== 0 &&
      view.getUint16(start + 2, true) === ARPHRD_ETHER && { isWithoutArp: true as const }),
  };
}

function readAltNames(reader: AttributeReader): string[] {
  const names: string[] = [];
  while (reader.next()) {
    const name = reader.type === ifla.alternativeName ? reader.text() : undefined;
    if (name !== undefined) names.push(name);
  }
  return names;
}

interface LinkInfo {
  kind?: string;
  vxlan?: VxlanAttributes;
  ipip?: IpipAttributes;
}

function readLinkInfo(reader: AttributeReader): LinkInfo {
  const info: LinkInfo = {};
  let data: AttributeReader | undefined;
  while (reader.next()) {
    if (reader.type === ifla.infoKind) info.kind = reader.text();
    else if (reader.type === ifla.infoData) data = reader.nested();
  }
  if (info.kind === "vxlan" && data !== undefined) info.vxlan = readVxlan(data);
  if ((info.kind === "ipip" || info.kind === "ip6tnl") && data !== undefined) info.ipip = readIpip(data);
  return info;
}
