// Whether a route message concerns given networks, told from its bytes: of fifty thousand routes of the Internet none is
// made into an object. Pure; input is hostile.
import { addressToBytes, type Prefix, prefixAddress, prefixLength } from "../../ip/address.ts";
import { addressFamily } from "../request.ts";
import { rta } from "../uapi.ts";

/** struct rtmsg */
const HEADER_BYTES = 12;
const ATTRIBUTE_BYTES = 4;

interface PrefixBytes {
  readonly family: number;
  readonly bytes: Uint8Array;
  readonly length: number;
}

const known = new WeakMap<readonly Prefix[], readonly PrefixBytes[]>();

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
  for (let at = start; at + ATTRIBUTE_BYTES <= end; ) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_BYTES || at + length > end) return undefined;
    if (view.getUint16(at + 2, true) === rta.destination) return at + ATTRIBUTE_BYTES;
    at += (length + 3) & ~3;
  }
  return undefined;
}

/** In the first `bits`. */
function isEqual(view: DataView, at: number, end: number, bytes: Uint8Array, bits: number): boolean {
  const whole = bits >> 3;
  const rest = bits & 7;
  if (at + whole + Number(rest > 0) > end) return true;
  for (let i = 0; i < whole; i++) if (view.getUint8(at + i) !== bytes[i]) return false;
  return rest === 0 || ((view.getUint8(at + whole) ^ (bytes[whole] ?? 0)) & (0xff << (8 - rest)) & 0xff) === 0;
}
