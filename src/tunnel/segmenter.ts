// Cuts a super-packet of the TUN device (TCP or UDP, up to 64 KiB) into the packets it stands for, each valid by itself.
// Payloads stay where they are; only headers are made. Pure but for the batch they go into.
import { type Arena, HEADER_SLOT_BYTES } from "./arena.ts";
import { fold, pseudoHeaderSum, sumWords, swapped } from "./checksum.ts";
import type { DatagramSink } from "./message-batch.ts";
import { IPV6_HEADER_BYTES, swappedSum32, TCP, TCP_HEADER_BYTES, tcpFlag, UDP, UDP_HEADER_BYTES } from "./packet.ts";

/** Where the parts of the super-packet are, and sums of what all segments share. Reused for every packet. */
interface SuperPacket {
  ip: number;
  isV6: boolean;
  /** Transport header. */
  transport: number;
  isTcp: boolean;
  headerBytes: number;
  payload: number;
  payloadBytes: number;
  segmentPayloadBytes: number;
  /** IPv4 header without length, id and checksum. */
  ipSum: number;
  /** Pseudo-header and transport header without lengths, sequence number, flags and checksum. */
  transportSum: number;
}

export class Segmenter {
  readonly #arena: Arena;
  readonly #packet: SuperPacket = {
    ip: 0,
    isV6: false,
    transport: 0,
    isTcp: false,
    headerBytes: 0,
    payload: 0,
    payloadBytes: 0,
    segmentPayloadBytes: 0,
    ipSum: 0,
    transportSum: 0,
  };

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  /**
   * Reads the `length` bytes at `ip` as a super-packet whose transport header starts at `transport`. False when it is
   * not one. `hasTcp` as the device said.
   */
  open(ip: number, length: number, isV6: boolean, transport: number, hasTcp: boolean, segmentBytes: number): boolean {
    const packet = this.#packet;
    const arena = this.#arena;
    const smallest = hasTcp ? TCP_HEADER_BYTES : UDP_HEADER_BYTES;
    if (transport + smallest > ip + length || transport - ip < (isV6 ? IPV6_HEADER_BYTES : 20)) return false;
    if ((transport & 1) !== 0) return false;
    const transportBytes = hasTcp ? ((arena.u8[transport + 12] ?? 0) >> 4) * 4 : UDP_HEADER_BYTES;
    const headerBytes = transport - ip + transportBytes;
    if (transportBytes < smallest || headerBytes > length || headerBytes > HEADER_SLOT_BYTES || segmentBytes === 0) {
      return false;
    }
    packet.ip = ip;
    packet.isV6 = isV6;
    packet.transport = transport;
    packet.isTcp = hasTcp;
    packet.headerBytes = headerBytes;
    packet.payload = ip + headerBytes;
    packet.payloadBytes = length - headerBytes;
    packet.segmentPayloadBytes = segmentBytes;
    packet.ipSum = isV6 ? 0 : sumWords(arena, ip, transport - ip) - this.#skippedIpWords(ip);
    packet.transportSum = pseudoHeaderSum(arena, ip, isV6, hasTcp ? TCP : UDP) + this.#fixedTransportSum();
    return true;
  }

  /** Length of each packet but the last. */
  get segmentBytes(): number {
    return this.#packet.headerBytes + Math.min(this.#packet.segmentPayloadBytes, this.#packet.payloadBytes);
  }

  /** Adds every packet to the batch. */
  emit(batch: Pick<DatagramSink, "takeHeader" | "add">, peer: number): void {
    const { payload, payloadBytes, segmentPayloadBytes, headerBytes, isV6 } = this.#packet;
    for (let start = 0, index = 0; start < payloadBytes || index === 0; start += segmentPayloadBytes, index++) {
      const bytes = Math.min(segmentPayloadBytes, payloadBytes - start);
      const header = batch.takeHeader();
      this.#copyHeader(header);
      const isLast = start + bytes >= payloadBytes;
      const payloadSum = fold(this.#arena.sumOf(payload + start, bytes));
      if (isV6) this.#arena.set16(header + 4, headerBytes - IPV6_HEADER_BYTES + bytes);
      else this.#finishIpv4(header, headerBytes + bytes, index);
      if (this.#packet.isTcp) this.#finishTcp(header, start, bytes, payloadSum, isLast);
      else this.#finishUdp(header, bytes, payloadSum);
      batch.add(peer, isV6, header, headerBytes, payload + start, bytes);
    }
  }

  #skippedIpWords(ip: number): number {
    const { u16 } = this.#arena;
    const word = ip >> 1;
    return (u16[word + 1] ?? 0) + (u16[word + 2] ?? 0) + (u16[word + 5] ?? 0);
  }

  #fixedTransportSum(): number {
    const { transport, headerBytes, ip, isTcp } = this.#packet;
    const { u16 } = this.#arena;
    const word = transport >> 1;
    if (!isTcp) return (u16[word] ?? 0) + (u16[word + 1] ?? 0);
    const skipped = (u16[word + 2] ?? 0) + (u16[word + 3] ?? 0) + (u16[word + 6] ?? 0) + (u16[word + 8] ?? 0);
    return sumWords(this.#arena, transport, ip + headerBytes - transport) - skipped;
  }

  #copyHeader(header: number): void {
    const { i32 } = this.#arena;
    const { ip, headerBytes } = this.#packet;
    for (let word = 0; word < headerBytes >> 2; word++) i32[(header >> 2) + word] = i32[(ip >> 2) + word] ?? 0;
  }

  #finishIpv4(header: number, length: number, index: number): void {
    const arena = this.#arena;
    const id = (arena.get16(this.#packet.ip + 4) + index) & 0xffff;
    arena.set16(header + 2, length);
    arena.set16(header + 4, id);
    arena.u16[(header + 10) >> 1] = ~fold(this.#packet.ipSum + swapped(length) + swapped(id));
  }

  #finishTcp(header: number, start: number, bytes: number, payloadSum: number, isLast: boolean): void {
    const arena = this.#arena;
    const { ip, transport, headerBytes, transportSum } = this.#packet;
    const tcp = header + (transport - ip);
    const sequence = (arena.get32(transport + 4) + start) | 0;
    let flags = arena.u8[transport + 13] ?? 0;
    if (!isLast) flags &= ~(tcpFlag.fin | tcpFlag.psh);
    if (start > 0) flags &= ~tcpFlag.cwr;
    arena.set32(tcp + 4, sequence);
    arena.u8[tcp + 13] = flags;
    const length = headerBytes - (transport - ip) + bytes;
    const sum =
      transportSum + swappedSum32(sequence) + (arena.u16[(tcp + 12) >> 1] ?? 0) + swapped(length) + payloadSum;
    arena.u16[(tcp + 16) >> 1] = ~fold(sum);
  }

  #finishUdp(header: number, bytes: number, payloadSum: number): void {
    const arena = this.#arena;
    const { ip, transport, transportSum } = this.#packet;
    const udp = header + (transport - ip);
    const length = UDP_HEADER_BYTES + bytes;
    arena.set16(udp + 4, length);
    const checksum = ~fold(transportSum + 2 * swapped(length) + payloadSum) & 0xffff;
    arena.u16[(udp + 6) >> 1] = checksum === 0 ? 0xffff : checksum;
  }
}
