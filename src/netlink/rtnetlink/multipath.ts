// The next hops of a route that has several (RTA_MULTIPATH: struct rtnexthop, each with attributes). Input is hostile: a
// length that does not fit ends the walk. Pure.
import { AttributeReader } from "../attribute-reader.ts";
import { RTNH_F_DEAD, RTNH_F_LINKDOWN, rta } from "../uapi.ts";
import type { RouteNextHop } from "./messages.ts";

/** Length (16 bits), flags (8), weight less one (8), device (32). */
const HEADER_BYTES = 8;

/** From `start` up to `end`, both offsets into `view`; in the kernel's order, those without a device left out. */
export function decodeNextHops(view: DataView, start: number, end: number): RouteNextHop[] {
  const found: RouteNextHop[] = [];
  for (let at = start; at + HEADER_BYTES <= end; ) {
    const length = view.getUint16(at, true);
    if (length < HEADER_BYTES || at + length > end) break;
    const outIndex = view.getUint32(at + 4, true);
    const gateway = gatewayIn(new AttributeReader(view, at + HEADER_BYTES, at + length));
    const isUsable = (view.getUint8(at + 2) & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) === 0;
    if (outIndex !== 0) found.push({ outIndex, ...(gateway === undefined ? {} : { gateway }), isUsable });
    at += (length + 3) & ~3;
  }
  return found;
}

function gatewayIn(reader: AttributeReader): RouteNextHop["gateway"] {
  let gateway: RouteNextHop["gateway"];
  while (reader.next()) {
    if (reader.type === rta.gateway) gateway = reader.address();
    else if (reader.type === rta.via) gateway = reader.via();
  }
  return gateway;
}
