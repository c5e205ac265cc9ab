// Joins packets of one flow that follow each other into one super-packet for the TUN device, so that the kernel handles
// up to 64 KiB at a time. Only what a router could cut apart into the same packets again is joined, and only packets
// whose checksum was found right. Order within a flow is kept; nothing is held back beyond a batch.
import { IOVEC_BYTES } from "../sys/message-header.ts";
import { type Arena, FLOW_IOVECS, MAX_FLOWS, VNET_HEADER_BYTES } from "./arena.ts";
import { fold, swapped } from "./checksum.ts";
import { ICMP, ICMPV6, TCP, TCP_HEADER_BYTES, tcpFlag, UDP, UDP_HEADER_BYTES, vnet } from "./packet.ts";

/** Takes one packet for the device: `iovecCount` iovecs at `iovecs`, the first is the virtio header. */
export type WritePacket = (iovecs: number, iovecCount: number) => void;

export interface CoalescerOptions {
  readonly tcp: boolean;
  readonly udp: boolean;
}

const MAX_PACKET_BYTES = 65_535;
/** Fields of a flow. */
const FLOW_WORDS = 10;
const flow = {
  ip: 0,
  isV6: 1,
  isTcp: 2,
  /** Of IP, and of IP and transport together. */
  ipBytes: 3,
  headerBytes: 4,
  segmentBytes: 5,
  totalBytes: 6,
  segments: 7,
  nextSequence: 8,
  /** Takes no more: its last packet was shorter, or pushed. */
  isClosed: 9,
} as const;

export class Coalescer {
  readonly #arena: Arena;
  readonly #write: WritePacket;
  readonly #options: CoalescerOptions;
  readonly #flows = new Int32Array(MAX_FLOWS * FLOW_WORDS);
  #count = 0;

  constructor(arena: Arena, options: CoalescerOptions, write: WritePacket) {
    this.#arena = arena;
    this.#options = options;
    this.#write = write;
    for (let index = 0; index < MAX_FLOWS; index++) {
      const header = arena.flowVnetHeaders + index * 16;
      arena.writeIovec(arena.flowIovecs + index * FLOW_IOVECS * IOVEC_BYTES, header, VNET_HEADER_BYTES);
    }
  }

  /** One checked packet of `total` bytes at `ip`, which stays untouched until `flush`. */
  take(ip: number, ipBytes: number, total: number, isV6: boolean): void {
    const { u8 } = this.#arena;
    const protocol = u8[ip + (isV6 ? 6 : 9)];
    const hasFlow = (protocol === TCP || protocol === UDP) && !this.#isFragment(ip, isV6);
    if (!hasFlow || total < ipBytes + UDP_HEADER_BYTES) {
      // A fragment, or what is behind extension headers, may belong to any open flow.
      if (protocol !== ICMP && protocol !== ICMPV6) this.flush();
      this.#writeAlone(ip, total);
      return;
    }
    const isTcp = protocol === TCP;
    const found = this.#find(ip, ipBytes, isV6, isTcp);
    const headerBytes = this.#joinableHeaderBytes(ip, ipBytes, total, isV6, isTcp);
    if (headerBytes === 0) {
      if (found >= 0) this.#flushFlow(found);
      this.#writeAlone(ip, total);
      return;
    }
    if (found >= 0) {
      if (this.#join(found, ip, headerBytes, total)) return;
      this.#flushFlow(found);
    }
    if (this.#count === MAX_FLOWS) this.#flushFlow(0);
    this.#open(ip, ipBytes, headerBytes, total, isV6, isTcp);
  }

  /** Writes all that is open, in the order the flows were opened. */
  flush(): void {
    for (let index = 0; index < this.#count; index++) this.#writeFlow(index);
    this.#count = 0;
  }

  #isFragment(ip: number, isV6: boolean): boolean {
    return !isV6 && (this.#arena.get16(ip + 6) & 0x3fff) !== 0;
  }

  /** The open flow with these addresses, ports and protocol, or -1. Only packets without IP options open flows. */
  #find(ip: number, ipBytes: number, isV6: boolean, isTcp: boolean): number {
    const { view } = this.#arena;
    for (let index = this.#count - 1; index >= 0; index--) {
      const first = this.#get(index, flow.ip);
      if (this.#get(index, flow.isTcp) !== Number(isTcp) || this.#get(index, flow.isV6) !== Number(isV6)) continue;
      if (view.getInt32(first + this.#get(index, flow.ipBytes)) !== view.getInt32(ip + ipBytes)) continue;
      if (isV6 ? this.#isEqual(first + 8, ip + 8, 32) : this.#isEqual(first + 12, ip + 12, 8)) return index;
    }
    return -1;
  }

  /** Length of all headers when the packet may be part of a super-packet, else 0. Verifies its checksum. */
  #joinableHeaderBytes(ip: number, ipBytes: number, total: number, isV6: boolean, isTcp: boolean): number {
    if (!(isTcp ? this.#options.tcp : this.#options.udp) || (!isV6 && ipBytes !== 20)) return 0;
    const { u8 } = this.#arena;
    const transport = ip + ipBytes;
    let headerBytes = ipBytes + UDP_HEADER_BYTES;
    if (isTcp) {
      const tcpBytes = ((u8[transport + 12] ?? 0) >> 4) * 4;
      headerBytes = ipBytes + tcpBytes;
      if (tcpBytes < TCP_HEADER_BYTES || ((u8[transport + 13] ?? 0) & ~tcpFlag.psh) !== tcpFlag.ack) return 0;
    } else if (this.#arena.get16(transport + 4) !== total - ipBytes || this.#arena.get16(transport + 6) === 0) {
      return 0;
    }
    if (headerBytes >= total) return 0;
    return this.#hasRightChecksum(ip, ipBytes, total, isV6, isTcp) ? headerBytes : 0;
  }

  #hasRightChecksum(ip: number, ipBytes: number, total: number, isV6: boolean, isTcp: boolean): boolean {
    const { sumOf } = this.#arena;
    const pseudo = this.#pseudoSum(ip, isV6, isTcp) + swapped(total - ipBytes);
    return fold(pseudo + fold(sumOf(ip + ipBytes, total - ipBytes))) === 0xffff;
  }

  #pseudoSum(ip: number, isV6: boolean, isTcp: boolean): number {
    const addresses = isV6 ? this.#arena.sumOf(ip + 8, 32) : this.#arena.sumOf(ip + 12, 8);
    return addresses + ((isTcp ? TCP : UDP) << 8);
  }

  #open(ip: number, ipBytes: number, headerBytes: number, total: number, isV6: boolean, isTcp: boolean): void {
    const index = this.#count++;
    const { u8, view } = this.#arena;
    const at = index * FLOW_WORDS;
    const transport = ip + ipBytes;
    this.#flows[at + flow.ip] = ip;
    this.#flows[at + flow.isV6] = Number(isV6);
    this.#flows[at + flow.isTcp] = Number(isTcp);
    this.#flows[at + flow.ipBytes] = ipBytes;
    this.#flows[at + flow.headerBytes] = headerBytes;
    this.#flows[at + flow.segmentBytes] = total - headerBytes;
    this.#flows[at + flow.totalBytes] = total;
    this.#flows[at + flow.segments] = 1;
    this.#flows[at + flow.nextSequence] = isTcp ? view.getInt32(transport + 4) + total - headerBytes : 0;
    this.#flows[at + flow.isClosed] = Number(isTcp && ((u8[transport + 13] ?? 0) & tcpFlag.psh) !== 0);
    this.#arena.writeIovec(this.#iovec(index, 1), ip, total);
  }

  /** Adds the packet to its flow if the two can be one. */
  #join(index: number, ip: number, headerBytes: number, total: number): boolean {
    const first = this.#get(index, flow.ip);
    const segments = this.#get(index, flow.segments);
    const payloadBytes = total - headerBytes;
    const fits =
      this.#get(index, flow.isClosed) === 0 &&
      headerBytes === this.#get(index, flow.headerBytes) &&
      payloadBytes <= this.#get(index, flow.segmentBytes) &&
      this.#get(index, flow.totalBytes) + payloadBytes <= MAX_PACKET_BYTES &&
      segments + 2 < FLOW_IOVECS;
    if (!fits || !this.#hasSameHeader(index, first, ip)) return false;
    const { u8 } = this.#arena;
    const at = index * FLOW_WORDS;
    const transport = this.#get(index, flow.ipBytes);
    const isTcp = this.#get(index, flow.isTcp) === 1;
    const isPushed = isTcp && ((u8[ip + transport + 13] ?? 0) & tcpFlag.psh) !== 0;
    if (isPushed) u8[first + transport + 13] = tcpFlag.ack | tcpFlag.psh;
    if (isPushed || payloadBytes < this.#get(index, flow.segmentBytes)) this.#flows[at + flow.isClosed] = 1;
    this.#arena.writeIovec(this.#iovec(index, segments + 1), ip + headerBytes, payloadBytes);
    this.#flows[at + flow.segments] = segments + 1;
    this.#flows[at + flow.totalBytes] = this.#get(index, flow.totalBytes) + payloadBytes;
    this.#flows[at + flow.nextSequence] = this.#get(index, flow.nextSequence) + payloadBytes;
    return true;
  }

  /** Everything but length, id, checksums and, for TCP, the sequence number, which has to be the next. */
  #hasSameHeader(index: number, first: number, ip: number): boolean {
    const { view } = this.#arena;
    const ipBytes = this.#get(index, flow.ipBytes);
    if (this.#get(index, flow.isV6) === 1) {
      if (view.getInt32(first) !== view.getInt32(ip)) return false; // class and flow label
      if (view.getUint16(first + 6) !== view.getUint16(ip + 6)) return false; // next header, hop limit
    } else {
      if (view.getUint16(first) !== view.getUint16(ip)) return false; // version, header length, TOS
      if (view.getInt32(first + 6) >> 8 !== view.getInt32(ip + 6) >> 8) return false; // DF, TTL
    }
    if (this.#get(index, flow.isTcp) === 0) return true;
    const tcp = first + ipBytes;
    const other = ip + ipBytes;
    if (view.getInt32(other + 4) !== this.#get(index, flow.nextSequence)) return false;
    if (view.getUint8(tcp + 12) !== view.getUint8(other + 12)) return false; // AccECN's AE (RFC 9768), reserved bits
    if (view.getInt32(tcp + 8) !== view.getInt32(other + 8)) return false; // acknowledgement
    if (view.getUint16(tcp + 14) !== view.getUint16(other + 14)) return false; // window
    const optionBytes = this.#get(index, flow.headerBytes) - ipBytes - TCP_HEADER_BYTES;
    return this.#isEqual(tcp + TCP_HEADER_BYTES, other + TCP_HEADER_BYTES, optionBytes);
  }

  #isEqual(a: number, b: number, bytes: number): boolean {
    const { view } = this.#arena;
    for (let at = 0; at < bytes; at += 4) if (view.getInt32(a + at) !== view.getInt32(b + at)) return false;
    return true;
  }

  /** Writes a flow before its turn and closes the gap. */
  #flushFlow(index: number): void {
    this.#writeFlow(index);
    this.#count--;
    const { u8 } = this.#arena;
    for (let next = index; next < this.#count; next++) {
      this.#flows.copyWithin(next * FLOW_WORDS, (next + 1) * FLOW_WORDS, (next + 2) * FLOW_WORDS);
      // The first iovec of each place is its own virtio header.
      u8.copyWithin(this.#iovec(next, 1), this.#iovec(next + 1, 1), this.#iovec(next + 2, 0));
    }
  }

  #writeFlow(index: number): void {
    const arena = this.#arena;
    const { u8, view } = arena;
    const header = arena.flowVnetHeaders + index * 16;
    const segments = this.#get(index, flow.segments);
    u8.fill(0, header, header + VNET_HEADER_BYTES);
    if (segments === 1) {
      u8[header + vnet.flags] = vnet.dataValid;
    } else {
      const isTcp = this.#get(index, flow.isTcp) === 1;
      const isV6 = this.#get(index, flow.isV6) === 1;
      u8[header + vnet.flags] = vnet.needsChecksum;
      u8[header + vnet.gsoType] = isTcp ? (isV6 ? vnet.gsoTcp6 : vnet.gsoTcp4) : vnet.gsoUdp;
      view.setUint16(header + vnet.headerLength, this.#get(index, flow.headerBytes), true);
      view.setUint16(header + vnet.gsoSize, this.#get(index, flow.segmentBytes), true);
      view.setUint16(header + vnet.checksumStart, this.#get(index, flow.ipBytes), true);
      view.setUint16(header + vnet.checksumOffset, isTcp ? 16 : 6, true);
      this.#finishHeaders(index, isV6, isTcp);
    }
    this.#write(this.#iovec(index, 0), segments + 1);
  }

  /** Lengths of the whole, the IP checksum, and the pseudo-header's sum where the kernel wants it. */
  #finishHeaders(index: number, isV6: boolean, isTcp: boolean): void {
    const arena = this.#arena;
    const { view } = arena;
    const ip = this.#get(index, flow.ip);
    const ipBytes = this.#get(index, flow.ipBytes);
    const total = this.#get(index, flow.totalBytes);
    const transport = ip + ipBytes;
    if (isV6) {
      arena.set16(ip + 4, total - ipBytes);
    } else {
      arena.set16(ip + 2, total);
      arena.set16(ip + 10, 0);
      view.setUint16(ip + 10, ~fold(arena.sumOf(ip, ipBytes)), true);
    }
    if (!isTcp) arena.set16(transport + 4, total - ipBytes);
    const pseudo = fold(this.#pseudoSum(ip, isV6, isTcp) + swapped(total - ipBytes));
    view.setUint16(transport + (isTcp ? 16 : 6), pseudo, true);
  }

  /** A packet by itself, at once. */
  #writeAlone(ip: number, total: number): void {
    const arena = this.#arena;
    const header = arena.lone;
    arena.u8.fill(0, header, header + VNET_HEADER_BYTES);
    arena.writeIovec(header + 64, header, VNET_HEADER_BYTES);
    arena.writeIovec(header + 64 + IOVEC_BYTES, ip, total);
    this.#write(header + 64, 2);
  }

  #iovec(index: number, part: number): number {
    return this.#arena.flowIovecs + (index * FLOW_IOVECS + part) * IOVEC_BYTES;
  }

  #get(index: number, field: number): number {
    return this.#flows[index * FLOW_WORDS + field] ?? 0;
  }
}
