// The Internet checksum (RFC 1071) over packets in the arena. Sums are of little-endian words, which is the same
// arithmetic on this machine's byte order: a folded sum is stored as it is. Pure.
import type { Arena } from "./arena.ts";

/** 16 bits of a sum, carries added back in. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** Bytes of a word the other way round: a 16-bit number as the little-endian sums see it on the wire. */
export function swapped(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}

/** Sum of a few 16-bit words; for headers, where a call into WebAssembly would cost more. `at` is even. */
export function sumWords({ u16 }: Arena, at: number, bytes: number): number {
  let sum = 0;
  for (let word = at >> 1; word < (at + bytes) >> 1; word++) sum += u16[word] ?? 0;
  return sum;
}

/** Folded sum of addresses, protocol and length that TCP's and UDP's checksums include, without the length. */
export function pseudoHeaderSum(arena: Arena, ip: number, isV6: boolean, protocol: number): number {
  const addresses = isV6 ? sumWords(arena, ip + 8, 32) : sumWords(arena, ip + 12, 8);
  return fold(addresses + (protocol << 8));
}
