// Datagrams on their way out: collected in the order they come, neighbours to one peer of one size joined for UDP GSO,
// sent by one call. Nothing is copied: a datagram is one or two pieces of arena memory.
import { errnos } from "../sys/errno.ts";
import { poll, sendmmsg, settled } from "../sys/libc.ts";
import { IOVEC_BYTES, MMSGHDR_BYTES, MSG_DONTWAIT, mmsghdr, SOL_UDP, UDP_SEGMENT } from "../sys/message-header.ts";
import {
  type Arena,
  CONTROL_BYTES,
  HEADER_SLOT_BYTES,
  MAX_HEADERS,
  MAX_IOVECS,
  MAX_MESSAGES,
  NAME_BYTES,
} from "./arena.ts";
import { type Counters, counter, peerCounter } from "./counters.ts";
import { type ForwardingTable, peerField } from "./forwarding-table.ts";
import type { PathMtus } from "./path-mtus.ts";

/** UDP_MAX_SEGMENTS of kernels before 6.9, and what an IPv6 datagram holds. */
const MAX_SEGMENTS = 64;
const MAX_MESSAGE_BYTES = 65_487;
const SEGMENT_CONTROL_BYTES = 24;
const SEGMENT_CMSG_LENGTH = 18;
const POLLOUT = 4;
/** A socket that stays full this long loses what is left for it in the batch. */
const MOST_WAIT_MS = 20;
/** What is remembered of each message beside its header. */
const META_WORDS = 6;
const meta = { peer: 0, isV6: 1, segments: 2, segmentBytes: 3, bytes: 4, firstIovec: 5 } as const;

export interface UdpSockets {
  /** -1: none. */
  readonly ipv4: number;
  readonly ipv6: number;
}

/** Where datagrams for peers go. */
export interface DatagramSink {
  table: ForwardingTable;
  /** Room for a header of up to HEADER_SLOT_BYTES, valid until `flush`; may flush first. */
  takeHeader(): number;
  /** One datagram: `bytes` at `offset` and, if there are, `restBytes` at `rest`. Both stay untouched until `flush`. */
  add(peer: number, isV6: boolean, offset: number, bytes: number, rest: number, restBytes: number): void;
  /** Sends everything, or loses it. Headers and packets may be overwritten afterwards. */
  flush(): void;
  /** Sends what the sockets have room for. What is left is to be sent before anything else is added. */
  send(): void;
}

export class MessageBatch implements DatagramSink {
  table: ForwardingTable;
  /** Whether messages of several datagrams are made. Goes off by itself when the kernel cannot send them. */
  usesGso: boolean;
  readonly #arena: Arena;
  readonly #sockets: UdpSockets;
  readonly #counters: Counters;
  readonly #pathMtus: PathMtus;
  readonly #meta = new Int32Array((MAX_MESSAGES + 1) * META_WORDS);
  #messages = 0;
  #iovecs = 0;
  #headers = 0;
  /** Whether the last message can take another datagram. */
  #isOpen = false;
  /** Everything before it has been sent or lost. */
  #next = 0;
  /** When a socket became full; 0: there was room. */
  #fullSinceMs = 0;
  #fullSocket = -1;

  constructor(
    arena: Arena,
    sockets: UdpSockets,
    counters: Counters,
    pathMtus: PathMtus,
    table: ForwardingTable,
    usesGso: boolean,
  ) {
    this.#arena = arena;
    this.#sockets = sockets;
    this.#counters = counters;
    this.#pathMtus = pathMtus;
    this.table = table;
    this.usesGso = usesGso;
    for (let index = 0; index < MAX_MESSAGES; index++) this.#prepare(index);
  }

  takeHeader(): number {
    if (this.#headers === MAX_HEADERS || this.#isFull) this.flush();
    return this.#arena.txHeaders + this.#headers++ * HEADER_SLOT_BYTES;
  }

  add(peer: number, isV6: boolean, offset: number, bytes: number, rest: number, restBytes: number): void {
    if (this.#isFull) this.flush();
    const total = bytes + restBytes;
    if (!(this.#isOpen && this.#join(peer, isV6, total))) this.#begin(peer, isV6, total);
    const at = (this.#messages - 1) * META_WORDS;
    this.#bump(at + meta.segments, 1);
    this.#bump(at + meta.bytes, total);
    this.#arena.writeIovec(this.#arena.txIovecs + this.#iovecs++ * IOVEC_BYTES, offset, bytes);
    if (restBytes > 0) this.#arena.writeIovec(this.#arena.txIovecs + this.#iovecs++ * IOVEC_BYTES, rest, restBytes);
  }

  flush(): void {
    this.send();
    while (this.isStuck) {
      this.#waitForRoom(this.#fullSocket);
      this.send();
    }
  }

  /** What the sockets have no room for stays, and nothing may be added: receiving goes on meanwhile. */
  send(): void {
    if (this.#next === 0 && !this.isStuck) this.#begun();
    while (this.#next < this.#messages) {
      const isV6 = this.#read(this.#next, meta.isV6);
      let end = this.#next + 1;
      while (end < this.#messages && this.#read(end, meta.isV6) === isV6) end++;
      if (!this.#sendTo(isV6 === 1 ? this.#sockets.ipv6 : this.#sockets.ipv4, end)) return;
      this.#fullSinceMs = 0; // the next socket, or batch, may take as long
    }
    this.#messages = 0;
    this.#iovecs = 0;
    this.#headers = 0;
    this.#next = 0;
    this.#fullSocket = -1;
  }

  /** Messages are left that found no room. */
  get isStuck(): boolean {
    return this.#fullSocket >= 0;
  }

  /** How long to wait for room in `fullSocket` before `send` is called again. */
  get waitMs(): number {
    return Math.max(1, Math.ceil(this.#fullSinceMs + MOST_WAIT_MS - performance.now()));
  }

  get fullSocket(): number {
    return this.#fullSocket;
  }

  /** Before the first message is sent. */
  #begun(): void {
    if (this.#messages > 0) this.#counters.add(counter.sentDatagramBatches, 1);
    for (let index = 0; index < this.#messages; index++) this.#finish(index);
    this.#isOpen = false;
  }

  get #isFull(): boolean {
    return this.#messages === MAX_MESSAGES || this.#iovecs > MAX_IOVECS - 2;
  }

  /** Whether the open message takes a datagram of this size: all as long as the first, only the last may be shorter. */
  #join(peer: number, isV6: boolean, bytes: number): boolean {
    const index = this.#messages - 1;
    const segmentBytes = this.#read(index, meta.segmentBytes);
    const segments = this.#read(index, meta.segments);
    if (this.#read(index, meta.peer) !== peer || this.#read(index, meta.isV6) !== (isV6 ? 1 : 0)) return false;
    if (bytes > segmentBytes || segments === MAX_SEGMENTS) return false;
    if (this.#read(index, meta.bytes) + bytes > MAX_MESSAGE_BYTES) return false;
    if (bytes < segmentBytes) this.#isOpen = false;
    return true;
  }

  #begin(peer: number, isV6: boolean, bytes: number): void {
    const index = this.#messages++;
    // One by one: `set` of a list would make that list for every message.
    const at = index * META_WORDS;
    this.#meta[at + meta.peer] = peer;
    this.#meta[at + meta.isV6] = isV6 ? 1 : 0;
    this.#meta[at + meta.segments] = 0;
    this.#meta[at + meta.segmentBytes] = bytes;
    this.#meta[at + meta.bytes] = 0;
    this.#meta[at + meta.firstIovec] = this.#iovecs;
    this.#writeName(this.#arena.txNames + index * NAME_BYTES, peer, isV6);
    this.#isOpen = this.usesGso;
  }

  /** What never changes of a message header. */
  #prepare(index: number): void {
    const at = this.#arena.txMessages + index * MMSGHDR_BYTES;
    const control = this.#arena.txControls + index * CONTROL_BYTES;
    this.#arena.writePointer(at + mmsghdr.name, this.#arena.txNames + index * NAME_BYTES);
    this.#arena.writePointer(at + mmsghdr.control, control);
    const { i32 } = this.#arena;
    i32[control >> 2] = SEGMENT_CMSG_LENGTH;
    i32[(control >> 2) + 2] = SOL_UDP;
    i32[(control >> 2) + 3] = UDP_SEGMENT;
  }

  #finish(index: number): void {
    const { i32, u16 } = this.#arena;
    const at = this.#arena.txMessages + index * MMSGHDR_BYTES;
    const first = this.#read(index, meta.firstIovec);
    const end = index + 1 < this.#messages ? this.#read(index + 1, meta.firstIovec) : this.#iovecs;
    i32[(at + mmsghdr.nameLength) >> 2] = this.#read(index, meta.isV6) === 1 ? 28 : 16;
    this.#arena.writePointer(at + mmsghdr.iovecs, this.#arena.txIovecs + first * IOVEC_BYTES);
    i32[(at + mmsghdr.iovecCount) >> 2] = end - first;
    i32[(at + mmsghdr.controlLength) >> 2] = this.#read(index, meta.segments) > 1 ? SEGMENT_CONTROL_BYTES : 0;
    u16[(this.#arena.txControls + index * CONTROL_BYTES + 16) >> 1] = this.#read(index, meta.segmentBytes);
  }

  /** sockaddr_in or sockaddr_in6 of the peer. */
  #writeName(at: number, peer: number, isV6: boolean): void {
    const { table } = this;
    const arena = this.#arena;
    if (!isV6) {
      arena.u16[at >> 1] = 2; // AF_INET
      arena.set16(at + 2, table.peerWord(peer, peerField.port));
      arena.set32(at + 4, table.peerWord(peer, peerField.ipv4));
      return;
    }
    arena.u16[at >> 1] = 10; // AF_INET6
    arena.set16(at + 2, table.peerWord(peer, peerField.ipv6Port));
    for (let word = 0; word < 4; word++) arena.set32(at + 8 + word * 4, table.peerWord(peer, peerField.ipv6 + word));
  }

  /** Sends the messages before `end`. Returns whether it is through with them: not when the socket is full for now. */
  #sendTo(fd: number, end: number): boolean {
    while (this.#next < end) {
      const at = this.#arena.txMessages + this.#next * MMSGHDR_BYTES;
      const sent = sendMessages(fd, this.#arena.base + at, end - this.#next);
      if (sent > 0) {
        for (let index = this.#next; index < this.#next + sent; index++) this.#count(index);
        this.#next += sent;
        this.#fullSinceMs = 0;
        continue;
      }
      const errno = -sent;
      if (errno === errnos.EINTR) continue;
      if (errno === errnos.EAGAIN && !this.#isFullForLong()) {
        this.#fullSocket = fd;
        return false;
      }
      this.#onRefused(fd, this.#next++, errno);
    }
    return true;
  }

  #isFullForLong(): boolean {
    const nowMs = performance.now();
    if (this.#fullSinceMs === 0) this.#fullSinceMs = nowMs;
    return nowMs - this.#fullSinceMs >= MOST_WAIT_MS;
  }

  /** A message the kernel would not send as it is. */
  #onRefused(fd: number, index: number, errno: number): void {
    const segments = this.#read(index, meta.segments);
    const isAboutSegments = errno === errnos.EIO || errno === errnos.EINVAL || errno === errnos.EMSGSIZE;
    if (segments > 1 && isAboutSegments) {
      // EIO: the way out has no checksumming, and never will have. The others: a path narrower than the device.
      if (errno === errnos.EIO) this.usesGso = false;
      else this.#pathMtus.learn(this.table, this.#read(index, meta.peer), this.#read(index, meta.isV6) === 1);
      this.#sendOneByOne(fd, index);
      return;
    }
    this.#countUnsent(errno, segments);
  }

  /** The datagrams of a message as plain ones: the kernel fragments those that do not fit. */
  #sendOneByOne(fd: number, index: number): void {
    const { i32 } = this.#arena;
    const at = this.#arena.txMessages + index * MMSGHDR_BYTES;
    const segmentBytes = this.#read(index, meta.segmentBytes);
    const peer = this.table.peerWord(this.#read(index, meta.peer), peerField.counterSlot);
    const count = i32[(at + mmsghdr.iovecCount) >> 2] ?? 0;
    const first = this.#read(index, meta.firstIovec);
    i32[(at + mmsghdr.controlLength) >> 2] = 0;
    let start = first;
    let bytes = 0;
    let hasWaited = false;
    for (let iovec = first; iovec < first + count; iovec++) {
      bytes += i32[((this.#arena.txIovecs + iovec * IOVEC_BYTES) >> 2) + 2] ?? 0;
      if (bytes < segmentBytes && iovec + 1 < first + count) continue;
      this.#arena.writePointer(at + mmsghdr.iovecs, this.#arena.txIovecs + start * IOVEC_BYTES);
      i32[(at + mmsghdr.iovecCount) >> 2] = iovec + 1 - start;
      let sent = sendMessages(fd, this.#arena.base + at, 1);
      if (sent === -errnos.EAGAIN && !hasWaited) {
        hasWaited = true;
        this.#waitForRoom(fd);
        sent = sendMessages(fd, this.#arena.base + at, 1);
      }
      if (sent === 1) this.#countSent(peer, 1, bytes);
      else this.#countUnsent(-sent, 1);
      start = iovec + 1;
      bytes = 0;
    }
  }

  #waitForRoom(fd: number): void {
    const { i32, sendPoll, base } = this.#arena;
    i32[sendPoll >> 2] = fd;
    i32[(sendPoll >> 2) + 1] = POLLOUT;
    poll(base + sendPoll, 1, this.waitMs);
  }

  #count(index: number): void {
    const slot = this.table.peerWord(this.#read(index, meta.peer), peerField.counterSlot);
    this.#countSent(slot, this.#read(index, meta.segments), this.#read(index, meta.bytes));
  }

  #countUnsent(errno: number, packets: number): void {
    const isFull = errno === errnos.EAGAIN || errno === errnos.ENOBUFS;
    this.#counters.add(isFull ? counter.sendQueueFull : counter.sendRefused, packets);
  }

  #countSent(slot: number, packets: number, bytes: number): void {
    this.#counters.add(counter.sentPackets, packets);
    this.#counters.add(counter.sentBytes, bytes);
    this.#counters.addForPeer(slot, peerCounter.sentPackets, packets, bytes);
  }

  #read(index: number, field: number): number {
    return this.#meta[index * META_WORDS + field] ?? 0;
  }

  #bump(at: number, amount: number): void {
    this.#meta[at] = (this.#meta[at] ?? 0) + amount;
  }
}

/** What passes by itself; the others change how this peer or all of them are sent to. */
const expectedOfSend = [errnos.EAGAIN, errnos.EINTR, errnos.ENOBUFS];

/** How many were sent, or minus the errno of the first. */
function sendMessages(fd: number, messages: number, count: number): number {
  const sent = sendmmsg(fd, messages, count, MSG_DONTWAIT);
  return sent < 0 ? settleSend(sent, fd, messages, count) : sent;
}

/** Apart, so that nothing is allocated while sending succeeds. */
function settleSend(result: number, fd: number, messages: number, count: number): number {
  return settled(result, expectedOfSend, () => sendmmsg(fd, messages, count, MSG_DONTWAIT));
}
