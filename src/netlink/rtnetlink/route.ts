// Routes (RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE; struct rtmsg). Pure.
import {
  type Address,
  addressBits,
  type Family,
  familyOf,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../../ip/address.ts";
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
import {
  nlm,
  RTAX_MTU,
  RTM_F_LOOKUP_TABLE,
  RTNH_F_ONLINK,
  routeProtocol,
  routeTable,
  rta,
  rtm,
  rtn,
  rtnlGroup,
} from "../uapi.ts";
import type { RouteMessage, RouteNextHop } from "./messages.ts";
import { decodeNextHops } from "./multipath.ts";
import { type DumpFilter, families, fits, type ObjectCodec } from "./object-codec.ts";
import {
  encapsulationText,
  type RouteEncapsulation,
  readEncapsulation,
  writeEncapsulation,
} from "./route-encapsulation.ts";
import { mayFitRoute } from "./route-overlap.ts";

/** netinet/in.h */
const IPPROTO_UDP = 17;
const HEADER_BYTES = 12;
/** RT_SCOPE_UNIVERSE */
const DEFAULT_SCOPE = 0;

export const routeCodec: ObjectCodec<RouteMessage> = {
  newType: rtm.newRoute,
  deleteType: rtm.delRoute,
  groups: [rtnlGroup.ipv4Route, rtnlGroup.ipv6Route],
  decode: decodeRoute,
  // One query for each family: without one the kernel adds multicast and MPLS routes.
  queries: (filter) => families(filter).map((family) => (writer) => encodeRouteQuery(writer, family, filter)),
  mayFit: mayFitRoute,
  fits: (route, filter) =>
    fits(filter.family, route.family) &&
    fits(filter.table, route.table) &&
    fits(filter.protocol, route.protocol) &&
    route.protocol !== filter.exceptProtocol &&
    // By next-hop object or over several devices the message may name no device of its own.
    (route.outIndex === undefined && (route.nextHopId !== undefined || route.isMultipath)
      ? true
      : fits(filter.index, route.outIndex)),
};

export interface RouteSpec {
  /** Host bits must be clear. */
  readonly destination: Prefix;
  /** Not together with `nextHopId`. */
  readonly device?: Device;
  readonly gateway?: Address;
  readonly onLink?: boolean;
  /** Takes gateway and device from a next-hop object. */
  readonly nextHopId?: number;
  /** Default boot. For a delete, 0 means any. */
  readonly protocol?: number;
  /** RT_SCOPE_*; default universe. IPv6 ignores it. */
  readonly scope?: number;
  /** RTN_*; default unicast. */
  readonly type?: number;
  /** RTA_PRIORITY; missing or 0 is the kernel's default: 0 for IPv4, 1024 for IPv6. */
  readonly metric?: number;
  /** Default main. */
  readonly table?: number;
  readonly preferredSource?: Address;
  /** RTAX_MTU: for packets on this route, where it is lower than the device's. */
  readonly mtuBytes?: number;
  /** For a device that takes the outer addresses from routes. */
  readonly encapsulation?: RouteEncapsulation;
}

/** `set` replaces the route of the same destination, table, metric and TOS, whoever made it. */
export function writeRoute(mode: WriteMode, route: RouteSpec): NetlinkRequest {
  return {
    encode: (writer) => encodeRoute(writer, rtm.newRoute, writeFlags[mode], route),
    describe: () => `${writeVerb[mode]} route ${routeText(route)}`,
  };
}

/**
 * Deletes the route that equals `route` in all that is stated. A missing one is `KERNEL_NOT_FOUND` (ESRCH).
 * A route by next-hop object only matches with its `nextHopId`, or without gateway, device and `nextHopId`.
 */
export function deleteRoute(route: RouteSpec): NetlinkRequest {
  return {
    encode: (writer) => encodeRoute(writer, rtm.delRoute, nlm.request, route),
    describe: () => `delete route ${routeText(route)}`,
  };
}

/** All routes of a family (AF_INET, AF_INET6); the kernel filters if it checks strictly. */
function encodeRouteQuery(writer: MessageWriter, family: number, filter: DumpFilter): void {
  const start = writer.begin(rtm.getRoute, nlm.request | nlm.dump);
  writer.u32(family); // then destination and source length, TOS: all 0
  writer.u8(0); // table: as attribute
  writer.u8(filter.protocol ?? 0);
  writer.u16(0); // scope, type
  writer.u32(0);
  if (filter.table !== undefined) writer.u32Attribute(rta.table, filter.table);
  if (filter.index !== undefined) writer.u32Attribute(rta.outInterface, filter.index);
  writer.end(start);
}

/** A packet whose way is asked for. */
export interface RouteQuery {
  readonly destination: Address;
  readonly source?: Address;
  /** Index of the device it comes in by; missing: this host sends it. */
  readonly incomingIndex?: number;
  /** Of a UDP packet: policy rules may choose by it. */
  readonly udpPort?: number;
}

/** Asks which route the packet would take. `flags`: NLM_F_*, beside NLM_F_REQUEST. */
export function encodeRouteLookup(writer: MessageWriter, query: RouteQuery, flags: number): void {
  const { destination, source, incomingIndex, udpPort } = query;
  const bits = addressBits(familyOf(destination));
  const start = writer.begin(rtm.getRoute, nlm.request | flags);
  writer.u8(addressFamily(destination));
  writer.u8(bits);
  writer.u8(source === undefined ? 0 : bits);
  writer.zeros(HEADER_BYTES - 7);
  // IPv6 names the table unasked, and refuses the flag.
  writer.u32(bits === 32 ? RTM_F_LOOKUP_TABLE : 0);
  writeAddress(writer, rta.destination, destination);
  if (source !== undefined) writeAddress(writer, rta.source, source);
  if (incomingIndex !== undefined) writer.u32Attribute(rta.incomingInterface, incomingIndex);
  if (udpPort !== undefined) {
    writer.bytesAttribute(rta.ipProtocol, Uint8Array.of(IPPROTO_UDP));
    writer.bytesAttribute(rta.destinationPort, Uint8Array.of(udpPort >> 8, udpPort & 0xff));
  }
  writer.end(start);
}

function decodeRoute(view: DataView, start: number, end: number): RouteMessage | undefined {
  if (start + HEADER_BYTES > end) return undefined;
  const family = ipFamily(view.getUint8(start));
  const length = view.getUint8(start + 1);
  if (family === undefined || length > addressBits(family)) return undefined;
  const found = readAttributes(view, new AttributeReader(view, start + HEADER_BYTES, end));
  const destination = found.destination ?? unspecified(family);
  if (familyOf(destination) !== family) return undefined;
  return {
    family,
    destination: makePrefix(destination, length),
    table: found.table ?? view.getUint8(start + 4),
    protocol: view.getUint8(start + 5),
    scope: view.getUint8(start + 6),
    type: view.getUint8(start + 7),
    metric: found.metric,
    tos: view.getUint8(start + 3),
    ...(found.outIndex === undefined ? {} : { outIndex: found.outIndex }),
    ...(found.gateway === undefined ? {} : { gateway: found.gateway }),
    ...(found.preferredSource === undefined ? {} : { preferredSource: found.preferredSource }),
    ...(found.mtuBytes === undefined ? {} : { mtuBytes: found.mtuBytes }),
    ...(found.encapsulation === undefined ? {} : { encapsulation: found.encapsulation }),
    onLink: (view.getUint32(start + 8, true) & RTNH_F_ONLINK) !== 0,
    ...(found.nextHopId === undefined ? {} : { nextHopId: found.nextHopId }),
    isMultipath: found.nextHops !== undefined,
    ...(found.nextHops === undefined ? {} : { nextHops: found.nextHops }),
  };
}

interface RouteAttributes {
  destination: Address | undefined;
  gateway: Address | undefined;
  preferredSource: Address | undefined;
  outIndex: number | undefined;
  table: number | undefined;
  nextHopId: number | undefined;
  metric: number;
  mtuBytes: number | undefined;
  encapsulation: string | undefined;
  nextHops: readonly RouteNextHop[] | undefined;
}

function readAttributes(view: DataView, reader: AttributeReader): RouteAttributes {
  const found: RouteAttributes = {
    destination: undefined,
    gateway: undefined,
    preferredSource: undefined,
    outIndex: undefined,
    table: undefined,
    nextHopId: undefined,
    metric: 0,
    mtuBytes: undefined,
    encapsulation: undefined,
    nextHops: undefined,
  };
  const encapsulation: { type: number; content?: AttributeReader } = { type: 0 };
  while (reader.next()) readAttribute(view, reader, found, encapsulation);
  const { type, content } = encapsulation;
  if (content !== undefined) found.encapsulation = readEncapsulation(type, content);
  return found;
}

function readAttribute(
  view: DataView,
  reader: AttributeReader,
  found: RouteAttributes,
  encapsulation: { type: number; content?: AttributeReader },
): void {
  switch (reader.type) {
    case rta.destination:
      found.destination = reader.address();
      break;
    case rta.outInterface:
      found.outIndex = reader.u32();
      break;
    case rta.gateway:
      found.gateway = reader.address();
      break;
    case rta.priority:
      found.metric = reader.u32() ?? 0;
      break;
    case rta.table:
      found.table = reader.u32();
      break;
    case rta.nextHopId:
      found.nextHopId = reader.u32();
      break;
    case rta.preferredSource:
      found.preferredSource = reader.address();
      break;
    case rta.via:
      found.gateway = reader.via();
      break;
    case rta.metrics:
      found.mtuBytes = readMtu(reader.nested());
      break;
    case rta.multipath:
      found.nextHops = decodeNextHops(view, ...reader.bounds());
      break;
    case rta.encapsulationType:
      encapsulation.type = reader.u16() ?? 0;
      break;
    case rta.encapsulation:
      encapsulation.content = reader.nested();
      break;
  }
}

/** 0 stands for none. */
function readMtu(reader: AttributeReader): number | undefined {
  let mtuBytes: number | undefined;
  while (reader.next()) if (reader.type === RTAX_MTU) mtuBytes = reader.u32();
  return mtuBytes === 0 ? undefined : mtuBytes;
}

function unspecified(family: Family): Address {
  return (family === 4 ? "0.0.0.0" : "::") as Address;
}

function encodeRoute(writer: MessageWriter, type: number, flags: number, route: RouteSpec): void {
  const start = writer.begin(type, flags);
  const table = route.table ?? routeTable.main;
  writer.u8(addressFamily(route.destination));
  writer.u8(prefixLength(route.destination));
  writer.u16(0); // source length, TOS
  writer.u8(table < 256 ? table : 0);
  writer.u8(route.protocol ?? routeProtocol.boot);
  writer.u8(route.scope ?? DEFAULT_SCOPE);
  writer.u8(route.type ?? rtn.unicast);
  writer.u32(route.onLink === true ? RTNH_F_ONLINK : 0);
  writeAddress(writer, rta.destination, prefixAddress(route.destination));
  if (route.gateway !== undefined) writeAddress(writer, rta.gateway, route.gateway);
  if (route.device !== undefined) writer.u32Attribute(rta.outInterface, route.device.index);
  if (route.nextHopId !== undefined) writer.u32Attribute(rta.nextHopId, route.nextHopId);
  if (route.metric !== undefined) writer.u32Attribute(rta.priority, route.metric);
  if (route.preferredSource !== undefined) writeAddress(writer, rta.preferredSource, route.preferredSource);
  if (table > 255) writer.u32Attribute(rta.table, table);
  if (route.encapsulation !== undefined) writeEncapsulation(writer, route.encapsulation);
  if (route.mtuBytes !== undefined) {
    const nest = writer.beginNest(rta.metrics);
    writer.u32Attribute(RTAX_MTU, route.mtuBytes);
    writer.endNest(nest);
  }
  writer.end(start);
}

function routeText(route: RouteSpec): string {
  const parts: string[] = [route.destination];
  if (route.nextHopId !== undefined) parts.push(`nhid ${route.nextHopId}`);
  if (route.gateway !== undefined) parts.push(`via ${route.gateway}`);
  if (route.device !== undefined) parts.push(`dev ${route.device.name}`);
  if (route.table !== undefined && route.table !== routeTable.main) parts.push(`table ${route.table}`);
  if (route.metric !== undefined) parts.push(`metric ${route.metric}`);
  if (route.mtuBytes !== undefined) parts.push(`mtu ${route.mtuBytes}`);
  if (route.encapsulation !== undefined) parts.push(`encap ${encapsulationText(route.encapsulation)}`);
  if (route.onLink === true) parts.push("onlink");
  return parts.join(" ");
}
