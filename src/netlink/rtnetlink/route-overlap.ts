// Whether a route message concerns given networks and protocols, told from its bytes: of fifty thousand routes of the Internet none is
// made into an object. Pure; input is hostile.
import { addressToBytes, type Prefix, prefixAddress, prefixLength } from "../../ip/address.ts";
import { addressFamily } from "../request.ts";
import { rta } from "../uapi.ts";
import type { DumpFilter } from "./object-codec.ts";

/** struct rtmsg */
const HEADER_BYTES = 12;
const ATTRIBUTE_BYTES = 4;
/** NLA_F_NESTED and NLA_F_NET_BYTEORDER share the field with the type. */
const TYPE_MASK = 0x3fff;

interface PrefixBytes {
  readonly family: number;
  readonly bytes: Uint8Array;
  readonly length: number;
}

const known = new WeakMap<readonly Prefix[], readonly PrefixBytes[]>();

/** See `ObjectCodec.mayFit`. */
export function mayFitRoute(view: DataView, start: number, end: number, filter: DumpFilter): boolean {
  const { overlapping, gatewayIn, exceptProtocol } = filter;
  if (exceptProtocol !== undefined && start + HEADER_BYTES <= end && view.getUint8(start + 5) === exceptProtocol) {
    return false;
  }
  if (gatewayIn !== undefined && !mayLeadBy(view, start, end, gatewayIn)) return false;
  return overlapping === undefined || mayOverlap(view, start, end, overlapping);
}

/** True also for what cannot be read: whoever decodes it will tell. */
export function mayOverlap(view: DataView, start: number, end: number, prefixes: readonly Prefix[]): boolean {
  if (start + HEADER_BYTES > end) return true;
  const family = view.getUint8(start);
  const length = view.getUint8(start + 1);
  const at = destinationOffset(view, start + HEADER_BYTES, end);
  for (const prefix of bytesOf(prefixes)) {
    if (prefix.family !== family) continue;
    const common = Math.min(length, prefix.length);
    if (common === 0 || (at !== undefined && isEqual(view, at, end, prefix.bytes, common))) return true;
  }
  return false;
}

function bytesOf(prefixes: readonly Prefix[]): readonly PrefixBytes[] {
  const found = known.get(prefixes);
  if (found !== undefined) return found;
  const made = prefixes.map((prefix) => ({
    family: addressFamily(prefix),
    bytes: addressToBytes(prefixAddress(prefix)),
    length: prefixLength(prefix),
  }));
  known.set(prefixes, made);
  return made;
}

function destinationOffset(view: DataView, start: number, end: number): number | undefined {
  return offsetOf(view, start, end, (type) => type === rta.destination);
}

/** Offset of the payload of the first such attribute. */
function offsetOf(view: DataView, start: number, end: number, isWanted: (type: number) => boolean): number | undefined {
  for (let at = start; at + ATTRIBUTE_BYTES <= end; ) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_BYTES || at + length > end) return undefined;
    if (isWanted(view.getUint16(at + 2, true) & TYPE_MASK)) return at + ATTRIBUTE_BYTES;
    at += (length + 3) & ~3;
  }
  return undefined;
}

/** Attributes that hold gateways in another form. */
const otherGateways: ReadonlySet<number> = new Set([rta.via, rta.multipath, rta.nextHopId]);

/** Whether a gateway lies in one of the prefixes, or may; false where the message names none. */
export function mayLeadBy(view: DataView, start: number, end: number, prefixes: readonly Prefix[]): boolean {
  if (start + HEADER_BYTES > end) return true;
  const family = view.getUint8(start);
  const first = start + HEADER_BYTES;
  const at = offsetOf(view, first, end, (type) => type === rta.gateway);
  if (at === undefined) return offsetOf(view, first, end, (type) => otherGateways.has(type)) !== undefined;
  return bytesOf(prefixes).some(
    (prefix) => prefix.family === family && isEqual(view, at, end, prefix.bytes, prefix.length),
  );
}

/** In the first `bits`. */
function isEqual(view: DataView, at: number, end: number, bytes: Uint8Array, bits: number): boolean {
  const whole = bits >> 3;
  const rest = bits & 7;
  if (at + whole + Number(rest > 0) > end) return true;
  for (let i = 0; i < whole; i++) if (view.getUint8(at + i) !== bytes[i]) return false;
  return rest === 0 || ((view.getUint8(at + whole) ^ (bytes[whole] ?? 0)) & (0xff << (8 - rest)) & 0xff) === 0;
}
