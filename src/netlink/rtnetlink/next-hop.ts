// Next-hop objects, kernel >= 5.3 (RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP; struct nhmsg). Pure.
import type { Address } from "../../ip/address.ts";
import { AttributeReader } from "../attribute-reader.ts";
import type { MessageWriter } from "../message-writer.ts";
import {
  addressFamily,
  type Device,
  ipFamily,
  type NetlinkRequest,
  type WriteMode,
  writeAddress,
  writeFlags,
  writeVerb,
} from "../request.ts";
import { AF_UNSPEC, nha, nlm, RTNH_F_ONLINK, rtm, rtnlGroup } from "../uapi.ts";
import type { NextHopMessage } from "./messages.ts";
import { fits, type ObjectCodec, oneFamily } from "./object-codec.ts";

const HEADER_BYTES = 8;

export const nextHopCodec: ObjectCodec<NextHopMessage> = {
  newType: rtm.newNextHop,
  deleteType: rtm.delNextHop,
  groups: [rtnlGroup.nextHop],
  decode: decodeNextHop,
  mayBeMissing: true,
  queries: (filter) => [(writer) => encodeNextHopQuery(writer, oneFamily(filter), filter.index)],
  fits: (nextHop, filter) =>
    fits(filter.index, nextHop.outIndex) &&
    fits(filter.protocol, nextHop.protocol) &&
    (nextHop.isGroup || fits(filter.family, nextHop.family)),
};

export interface NextHopSpec {
  /** Not 0, unique among all next hops of the namespace, of either family. */
  readonly id: number;
  readonly device: Device;
  readonly gateway: Address;
  readonly onLink: boolean;
  readonly protocol: number;
}

export function writeNextHop(mode: WriteMode, nextHop: NextHopSpec): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = writer.begin(rtm.newNextHop, writeFlags[mode]);
      writer.u8(addressFamily(nextHop.gateway));
      writer.u8(0); // scope: the kernel's answer only
      writer.u8(nextHop.protocol);
      writer.u8(0);
      writer.u32(nextHop.onLink ? RTNH_F_ONLINK : 0);
      writer.u32Attribute(nha.id, nextHop.id);
      writer.u32Attribute(nha.outInterface, nextHop.device.index);
      writeAddress(writer, nha.gateway, nextHop.gateway);
      writer.end(start);
    },
    describe: () => `${writeVerb[mode]} nexthop id ${nextHop.id} ${viaText(nextHop)}`,
  };
}

/** Takes the routes that use it with it. A missing one is `KERNEL_NOT_FOUND`. */
export function deleteNextHop(id: number): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = writer.begin(rtm.delNextHop, nlm.request);
      writer.zeros(HEADER_BYTES);
      writer.u32Attribute(nha.id, id);
      writer.end(start);
    },
    describe: () => `delete nexthop id ${id}`,
  };
}

/** All next hops of a family (AF_UNSPEC: all). */
function encodeNextHopQuery(writer: MessageWriter, family: number, index: number | undefined): void {
  const start = writer.begin(rtm.getNextHop, nlm.request | nlm.dump);
  writer.u32(family);
  writer.u32(0);
  if (index !== undefined) writer.u32Attribute(nha.outInterface, index);
  writer.end(start);
}

function decodeNextHop(view: DataView, start: number, end: number): NextHopMessage | undefined {
  if (start + HEADER_BYTES > end) return undefined;
  let id: number | undefined;
  let outIndex: number | undefined;
  let gateway: Address | undefined;
  let memberIds: readonly number[] | undefined;
  const reader = new AttributeReader(view, start + HEADER_BYTES, end);
  while (reader.next()) {
    switch (reader.type) {
      case nha.id:
        id = reader.u32();
        break;
      case nha.outInterface:
        outIndex = reader.u32();
        break;
      case nha.gateway:
        gateway = reader.address();
        break;
      case nha.group:
        memberIds = readMembers(view, ...reader.bounds());
        break;
    }
  }
  // Groups have no family; IPv4 stands for it since the message has no third value.
  const addressFamilyNumber = view.getUint8(start);
  const family = addressFamilyNumber === AF_UNSPEC ? 4 : ipFamily(addressFamilyNumber);
  if (id === undefined || family === undefined) return undefined;
  return {
    id,
    family,
    protocol: view.getUint8(start + 2),
    ...(outIndex === undefined ? {} : { outIndex }),
    ...(gateway === undefined ? {} : { gateway }),
    onLink: (view.getUint32(start + 4, true) & RTNH_F_ONLINK) !== 0,
    isGroup: memberIds !== undefined,
    ...(memberIds === undefined ? {} : { memberIds }),
  };
}

/** struct nexthop_grp: id (32 bits), weight, padding. */
function readMembers(view: DataView, start: number, end: number): number[] {
  const ids: number[] = [];
  for (let at = start; at + 8 <= end; at += 8) ids.push(view.getUint32(at, true));
  return ids;
}

function viaText(nextHop: NextHopSpec): string {
  return `via ${nextHop.gateway} dev ${nextHop.device.name}${nextHop.onLink ? " onlink" : ""}`;
}
