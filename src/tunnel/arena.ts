// All memory the packet path works in: one block that never moves or grows, so that the kernel can be given addresses in
// it, WebAssembly can sum it, and nothing is allocated for a packet. Offsets in it are plain numbers.
import { addressOf } from "../sys/libc.ts";
import { IOVEC_BYTES, MMSGHDR_BYTES } from "../sys/message-header.ts";
import { compileSum, type SumOf } from "./checksum-code.ts";

/** What one read from the TUN device can bring: virtio header and the largest IP packet, rounded up. */
const PACKET_SLOT_BYTES = 66 * 1024;
const TX_SLOTS = 8;
/** Datagrams the kernel joined by UDP GRO need 64 KiB each. */
export const RX_SLOT_BYTES = 64 * 1024;
export const RX_SLOTS = 16;
/** struct virtio_net_hdr with num_buffers: 12 bytes, so that IP headers behind it can be aligned. */
export const VNET_HEADER_BYTES = 12;
/** Room for an IPv6 header and the longest TCP header. */
export const HEADER_SLOT_BYTES = 128;
export const MAX_HEADERS = 1024;
export const MAX_MESSAGES = 512;
export const MAX_IOVECS = 4096;
export const MAX_FLOWS = 16;
/** Packets joined to one: header, virtio header and payloads, one iovec each. */
export const FLOW_IOVECS = 68;
/** sockaddr_in6 rounded up; one cmsghdr with a small value. */
export const NAME_BYTES = 32;
export const CONTROL_BYTES = 32;
const SCRATCH_BYTES = 2048;

const PAGE_BYTES = 65_536;

const FOUR_GIB = 0x1_0000_0000;

/** Memory whose addresses share their upper 32 bits. */
function allocate(pages: number): WebAssembly.Memory {
  const crossing: WebAssembly.Memory[] = [];
  for (;;) {
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const first = addressOf(memory.buffer);
    const last = first + pages * PAGE_BYTES - 1;
    if (Math.floor(first / FOUR_GIB) === Math.floor(last / FOUR_GIB)) return memory;
    crossing.push(memory); // held until another has been found: freed, the same would come again
  }
}

export class Arena {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  readonly view: DataView;
  /** Sum of little-endian words of the bytes from offset, see checksum.ts. */
  readonly sumOf: SumOf;
  /** Address of offset 0 in this process. */
  readonly base: number;
  /** The same as two words, so that a pointer is written with whole numbers of 32 bits. */
  readonly #baseLow: number;
  readonly #baseHigh: number;
  readonly txPackets: number;
  readonly txPacketsEnd: number;
  readonly txHeaders: number;
  readonly txMessages: number;
  readonly txIovecs: number;
  readonly txNames: number;
  readonly txControls: number;
  readonly rxSlots: number;
  readonly rxMessages: number;
  readonly rxIovecs: number;
  readonly rxNames: number;
  readonly rxControls: number;
  readonly flowIovecs: number;
  readonly flowVnetHeaders: number;
  /** What PacketWait keeps: poll descriptors, the eventfd's counter, a time. */
  readonly polls: number;
  /** One poll descriptor, for a socket that is full. */
  readonly sendPoll: number;
  /** ICMP errors are built here. */
  readonly scratch: number;
  /** A virtio header and, 64 bytes behind it, two iovecs, for packets written by themselves; nothing else is put here. */
  readonly lone: number;

  constructor() {
    let end = 0;
    const take = (bytes: number): number => {
      const start = end;
      end += Math.ceil(bytes / 64) * 64;
      return start;
    };
    take(64); // so that no offset is 0
    this.txPackets = take(TX_SLOTS * PACKET_SLOT_BYTES);
    this.txPacketsEnd = end;
    this.txHeaders = take(MAX_HEADERS * HEADER_SLOT_BYTES);
    this.txMessages = take(MAX_MESSAGES * MMSGHDR_BYTES);
    this.txIovecs = take(MAX_IOVECS * IOVEC_BYTES);
    this.txNames = take(MAX_MESSAGES * NAME_BYTES);
    this.txControls = take(MAX_MESSAGES * CONTROL_BYTES);
    this.rxSlots = take(RX_SLOTS * RX_SLOT_BYTES);
    this.rxMessages = take(RX_SLOTS * MMSGHDR_BYTES);
    this.rxIovecs = take(RX_SLOTS * IOVEC_BYTES);
    this.rxNames = take(RX_SLOTS * NAME_BYTES);
    this.rxControls = take(RX_SLOTS * CONTROL_BYTES);
    this.flowIovecs = take(MAX_FLOWS * FLOW_IOVECS * IOVEC_BYTES);
    this.flowVnetHeaders = take(MAX_FLOWS * 16);
    this.polls = take(64);
    this.sendPoll = take(8);
    this.scratch = take(SCRATCH_BYTES);
    this.lone = take(64 + 2 * IOVEC_BYTES);
    const memory = allocate(Math.ceil(end / PAGE_BYTES));
    this.u8 = new Uint8Array(memory.buffer);
    this.u16 = new Uint16Array(memory.buffer);
    this.i32 = new Int32Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.sumOf = compileSum(memory);
    this.base = addressOf(memory.buffer);
    this.#baseLow = this.base | 0;
    this.#baseHigh = Math.floor(this.base / FOUR_GIB);
  }

  /** Writes the address of `offset` as a pointer at `at` (a multiple of 4). */
  writePointer(at: number, offset: number): void {
    this.i32[at >> 2] = this.#baseLow + offset;
    this.i32[(at >> 2) + 1] = this.#baseHigh;
  }

  /** One struct iovec at `at`; the upper half of its length is never anything but 0. */
  writeIovec(at: number, offset: number, bytes: number): void {
    this.writePointer(at, offset);
    this.i32[(at >> 2) + 2] = bytes;
  }

  /** 16 bits in network byte order. */
  get16(at: number): number {
    return ((this.u8[at] ?? 0) << 8) | (this.u8[at + 1] ?? 0);
  }

  set16(at: number, value: number): void {
    this.u8[at] = value >>> 8;
    this.u8[at + 1] = value;
  }

  /** 32 bits in network byte order, signed. */
  get32(at: number): number {
    return this.view.getInt32(at);
  }

  set32(at: number, value: number): void {
    this.view.setInt32(at, value);
  }
}
