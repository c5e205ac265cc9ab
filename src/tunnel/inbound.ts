// From the peers to the TUN device, in the order a datagram meets it: received, its sender known, cut where the kernel
// joined it, each packet checked inside and out, one hop taken off, joined with its neighbours, written.
import { errnos } from "../sys/errno.ts";
import { recvmmsg, settled } from "../sys/libc.ts";
import {
  IOVEC_BYTES,
  MMSGHDR_BYTES,
  MSG_DONTWAIT,
  MSG_TRUNC,
  mmsghdr,
  SOL_UDP,
  UDP_GRO,
} from "../sys/message-header.ts";
import { type Arena, CONTROL_BYTES, NAME_BYTES, RX_SLOT_BYTES, RX_SLOTS } from "./arena.ts";
import { fold } from "./checksum.ts";
import type { Coalescer } from "./coalescer.ts";
import { type Counters, counter, peerCounter } from "./counters.ts";
import { type ForwardingTable, NO_PEER, peerField } from "./forwarding-table.ts";
import type { IcmpErrors } from "./icmp-errors.ts";
import { decrementTtl4, decrementTtl6, IPV6_HEADER_BYTES, ipv4HeaderBytes } from "./packet.ts";

export interface InboundOptions {
  readonly arena: Arena;
  readonly coalescer: Coalescer;
  readonly icmp: IcmpErrors;
  readonly counters: Counters;
}

export class Inbound {
  readonly #arena: Arena;
  readonly #options: InboundOptions;
  #table: ForwardingTable;
  /** The last packet that passed all checks: one with the same three addresses passes them too. */
  #lastSender = 0;
  #lastSource = 0;
  #lastDestination = 0;
  #lastPeer = NO_PEER;

  constructor(options: InboundOptions, table: ForwardingTable) {
    this.#options = options;
    this.#arena = options.arena;
    this.#table = table;
    for (let slot = 0; slot < RX_SLOTS; slot++) this.#prepare(slot);
  }

  setTable(table: ForwardingTable): void {
    this.#table = table;
    this.#lastPeer = NO_PEER;
  }

  /** Forwards one batch from the socket. Returns whether there may be more. */
  run(socket: number, isV6: boolean): boolean {
    const { arena } = this.#options;
    let count = recvmmsg(socket, arena.base + arena.rxMessages, RX_SLOTS, MSG_DONTWAIT, 0);
    if (count < 0) count = settleReceive(count, socket, arena.base + arena.rxMessages);
    if (count <= 0) {
      if (count === -errnos.EBADF || count === -errnos.ENOTSOCK)
        throw new Error(`the UDP socket failed: errno ${-count}`);
      return false; // nothing there; or an ICMP error about something sent, which is reported once
    }
    this.#options.counters.add(counter.receivedDatagramBatches, 1);
    for (let slot = 0; slot < count; slot++) this.#takeSlot(slot, isV6);
    this.#options.coalescer.flush();
    return count === RX_SLOTS;
  }

  /** The datagrams in a slot: one, or as many of equal size as the kernel joined. */
  #takeSlot(slot: number, isV6: boolean): void {
    const { i32, rxMessages, rxSlots, rxNames } = this.#arena;
    const at = rxMessages + slot * MMSGHDR_BYTES;
    const bytes = i32[(at + mmsghdr.bytes) >> 2] ?? 0;
    const isTruncated = ((i32[(at + mmsghdr.flags) >> 2] ?? 0) & MSG_TRUNC) !== 0;
    const segmentBytes = this.#segmentBytes(slot, at) || bytes;
    i32[(at + mmsghdr.controlLength) >> 2] = CONTROL_BYTES;
    i32[(at + mmsghdr.nameLength) >> 2] = NAME_BYTES;
    if (isTruncated || bytes === 0) {
      this.#drop(isTruncated ? counter.truncated : counter.malformed, 1);
      return;
    }
    this.takeDatagrams(rxSlots + slot * RX_SLOT_BYTES, bytes, segmentBytes, rxNames + slot * NAME_BYTES, isV6);
  }

  /** `bytes` at `at`, cut every `segmentBytes`; the sender's sockaddr is at `name`. */
  takeDatagrams(at: number, bytes: number, segmentBytes: number, name: number, isV6: boolean): void {
    const count = Math.ceil(bytes / segmentBytes);
    const isKnown = isV6
      ? this.#table.isSender6(this.#arena.view, name + 8)
      : this.#table.isSender4(this.#arena.get32(name + 4));
    if (!isKnown && this.#table.checkSource) {
      this.#drop(counter.unknownSender, count);
      return;
    }
    for (let start = 0; start < bytes; start += segmentBytes) {
      this.#takePacket(at + start, Math.min(segmentBytes, bytes - start), name, isV6);
    }
  }

  #takePacket(ip: number, length: number, name: number, isV6Outside: boolean): void {
    const version = (this.#arena.u8[ip] ?? 0) >> 4;
    if (version === 4 && !isV6Outside) this.#take4(ip, length, name);
    else if (version === 6 && isV6Outside) this.#take6(ip, length, name);
    else this.#drop(counter.malformed, 1);
  }

  #take4(ip: number, length: number, name: number): void {
    const arena = this.#arena;
    const headerBytes = ipv4HeaderBytes(arena, ip, length);
    const total = headerBytes === 0 ? 0 : arena.get16(ip + 2);
    if (total < headerBytes || total === 0 || total > length) {
      this.#drop(counter.malformed, 1);
      return;
    }
    if (fold(arena.sumOf(ip, headerBytes)) !== 0xffff) {
      this.#drop(counter.malformed, 1);
      return;
    }
    const peer = this.#admit4(arena.get32(name + 4), arena.get32(ip + 12), arena.get32(ip + 16));
    if (peer < NO_PEER) return;
    if ((arena.u8[ip + 8] ?? 0) <= 1) {
      if (!this.#table.isOwnBroadcast4(arena.get32(ip + 16))) this.#options.icmp.send("ttlExpired", ip, total, false);
      this.#drop(counter.ttlExpired, 1);
      return;
    }
    decrementTtl4(arena, ip);
    this.#pass(ip, headerBytes, total, peer, false);
  }

  #take6(ip: number, length: number, name: number): void {
    const arena = this.#arena;
    const total = length < IPV6_HEADER_BYTES ? 0 : IPV6_HEADER_BYTES + arena.get16(ip + 4);
    if (total === 0 || total > length) {
      this.#drop(counter.malformed, 1);
      return;
    }
    const peer = this.#admit6(name, ip);
    if (peer < NO_PEER) return;
    if ((arena.u8[ip + 7] ?? 0) <= 1) {
      this.#options.icmp.send("ttlExpired", ip, total, true);
      this.#drop(counter.ttlExpired, 1);
      return;
    }
    decrementTtl6(arena, ip);
    this.#pass(ip, IPV6_HEADER_BYTES, total, peer, true);
  }

  #pass(ip: number, headerBytes: number, total: number, peer: number, isV6: boolean): void {
    const { coalescer, counters } = this.#options;
    counters.add(counter.receivedPackets, 1);
    counters.add(counter.receivedBytes, total);
    if (peer !== NO_PEER) {
      const slot = this.#table.peerWord(peer, peerField.counterSlot);
      counters.addForPeer(slot, peerCounter.receivedPackets, 1, total);
    }
    coalescer.take(ip, headerBytes, total, isV6);
  }

  /** The peer it comes from; NO_PEER when nobody is known and nobody asks; REFUSED when it was dropped. */
  #admit4(sender: number, source: number, destination: number): number {
    const isSame = source === this.#lastSource && sender === this.#lastSender && destination === this.#lastDestination;
    if (isSame && this.#lastPeer !== NO_PEER) return this.#lastPeer;
    const table = this.#table;
    const peer = table.lookUp4(source);
    if (table.checkSource) {
      if (peer === NO_PEER || table.peerWord(peer, peerField.ipv4) !== sender)
        return this.#refuse(counter.foreignSource);
      if (!table.isOwn4(destination)) return this.#refuse(counter.foreignDestination);
    }
    this.#lastSource = source;
    this.#lastSender = sender;
    this.#lastDestination = destination;
    this.#lastPeer = peer;
    return peer;
  }

  #admit6(name: number, ip: number): number {
    const table = this.#table;
    const { view } = this.#arena;
    const peer = table.lookUp6(view, ip + 8);
    if (!table.checkSource) return peer;
    let isSender = peer !== NO_PEER;
    for (let word = 0; isSender && word < 4; word++) {
      isSender = table.peerWord(peer, peerField.ipv6 + word) === view.getInt32(name + 8 + word * 4);
    }
    if (!isSender) return this.#refuse(counter.foreignSource);
    return table.isOwn6(view, ip + 24) ? peer : this.#refuse(counter.foreignDestination);
  }

  #refuse(reason: number): number {
    this.#drop(reason, 1);
    return REFUSED;
  }

  #drop(reason: number, packets: number): void {
    this.#options.counters.add(reason, packets);
  }

  /** Length of each datagram in a joined one, 0 when it is a single one. */
  #segmentBytes(slot: number, at: number): number {
    const { i32, rxControls } = this.#arena;
    const control = (rxControls + slot * CONTROL_BYTES) >> 2;
    const hasControl = (i32[(at + mmsghdr.controlLength) >> 2] ?? 0) > 0;
    if (!hasControl || i32[control + 2] !== SOL_UDP || i32[control + 3] !== UDP_GRO) return 0;
    return Math.max(0, i32[control + 4] ?? 0);
  }

  #prepare(slot: number): void {
    const arena = this.#arena;
    const at = arena.rxMessages + slot * MMSGHDR_BYTES;
    const iovec = arena.rxIovecs + slot * IOVEC_BYTES;
    arena.writeIovec(iovec, arena.rxSlots + slot * RX_SLOT_BYTES, RX_SLOT_BYTES);
    arena.writePointer(at + mmsghdr.name, arena.rxNames + slot * NAME_BYTES);
    arena.i32[(at + mmsghdr.nameLength) >> 2] = NAME_BYTES;
    arena.writePointer(at + mmsghdr.iovecs, iovec);
    arena.i32[(at + mmsghdr.iovecCount) >> 2] = 1;
    arena.writePointer(at + mmsghdr.control, arena.rxControls + slot * CONTROL_BYTES);
    arena.i32[(at + mmsghdr.controlLength) >> 2] = CONTROL_BYTES;
  }
}

const REFUSED = NO_PEER - 1;
const expectedOfReceive = [errnos.EAGAIN];

/** Apart from the loop, so that it allocates nothing while datagrams come. */
function settleReceive(result: number, socket: number, messages: number): number {
  return settled(result, expectedOfReceive, () => recvmmsg(socket, messages, RX_SLOTS, MSG_DONTWAIT, 0));
}
