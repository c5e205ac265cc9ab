// Numbers of the protocols the packet path reads and writes, and the few changes it makes to headers. Pure.
import type { Arena } from "./arena.ts";
import { swapped } from "./checksum.ts";

/** IANA protocol numbers. */
export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;

export const IPV4_HEADER_BYTES = 20;
export const IPV6_HEADER_BYTES = 40;
export const UDP_HEADER_BYTES = 8;
export const TCP_HEADER_BYTES = 20;

export const tcpFlag = { fin: 0x01, psh: 0x08, ack: 0x10, cwr: 0x80 } as const;

/** linux/virtio_net.h; offsets in struct virtio_net_hdr. */
export const vnet = {
  flags: 0,
  gsoType: 1,
  headerLength: 2,
  gsoSize: 4,
  checksumStart: 6,
  checksumOffset: 8,
  needsChecksum: 1,
  dataValid: 2,
  gsoNone: 0,
  gsoTcp4: 1,
  gsoTcp6: 4,
  gsoUdp: 5,
  /** Set beside a TCP type when CWR is: the kernel only sends it when asked to. */
  gsoEcn: 0x80,
} as const;

/** True for 224.0.0.0/4 and above (multicast, reserved, broadcast). Address in network order, signed. */
export function isMulticast4(address: number): boolean {
  return address >>> 28 >= 14;
}

/** Header length when the bytes at `ip` are a whole IPv4 header in `length` bytes, else 0. */
export function ipv4HeaderBytes({ u8 }: Arena, ip: number, length: number): number {
  if (length < IPV4_HEADER_BYTES) return 0;
  const bytes = ((u8[ip] ?? 0) & 15) * 4;
  return bytes >= IPV4_HEADER_BYTES && bytes <= length ? bytes : 0;
}

/** Whether the IP packet at `ip`, of `length` bytes, is TCP's without payload. Extension headers hide what it is. */
export function isBareTcp({ u8 }: Arena, ip: number, length: number, isV6: boolean): boolean {
  if (u8[ip + (isV6 ? 6 : 9)] !== TCP) return false;
  const headerBytes = isV6 ? IPV6_HEADER_BYTES : ((u8[ip] ?? 0) & 15) * 4;
  return headerBytes + ((u8[ip + headerBytes + 12] ?? 0) >> 4) * 4 >= length;
}

/**
 * One hop less, and the checksum follows (RFC 1624). The TTL must not be 0. Bytes, not words: a packet cut out of joined
 * datagrams may lie anywhere.
 */
export function decrementTtl4(arena: Arena, ip: number): void {
  arena.u8[ip + 8] = (arena.u8[ip + 8] ?? 0) - 1;
  // One less in the high byte of a word: the checksum gets one more there, carry end-around; of the two zeros, 0.
  const sum = arena.get16(ip + 10) + 0x100;
  arena.set16(ip + 10, sum >= 0xffff ? sum + 1 : sum);
}

export function decrementTtl6({ u8 }: Arena, ip: number): void {
  u8[ip + 7] = (u8[ip + 7] ?? 0) - 1;
}

/** Little-endian sum of a 32-bit number's two words as it stands on the wire. */
export function swappedSum32(value: number): number {
  return swapped(value >>> 16) + swapped(value & 0xffff);
}
