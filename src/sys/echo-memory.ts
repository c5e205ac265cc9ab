// The memory of one echo socket: messages that go out and come in, as sendmmsg(2) and recvmmsg(2) want them. It never moves, so
// that the kernel can be given addresses in it.
import { addressOf } from "./libc.ts";
import { IOVEC_BYTES, MMSGHDR_BYTES, mmsghdr } from "./message-header.ts";

/** Messages of one call. */
export const BATCH = 16;
/** What is written of a message; the rest of a large one is zeros, which all messages share. */
export const HEAD_BYTES = 64;
/** What is read of a message: the longest IPv4 header, and the head. */
const SLOT_BYTES = 128;
export const NAME_BYTES = 32;
const CONTROL_BYTES = 192;
/** The largest padding of a message. */
export const MAX_PADDING_BYTES = 16 * 1024;

export class EchoMemory {
  readonly u8: Uint8Array;
  readonly view: DataView;
  readonly #base: bigint;
  readonly messages: number;
  readonly #iovecs: number;
  readonly #heads: number;
  readonly #names: number;
  readonly #controls: number;
  readonly #padding: number;
  /** Room for a socket filter and for a struct timespec. */
  readonly scratch: number;

  constructor() {
    let end = 0;
    const take = (bytes: number): number => {
      const start = end;
      end += Math.ceil(bytes / 16) * 16;
      return start;
    };
    this.messages = take(BATCH * MMSGHDR_BYTES);
    this.#iovecs = take(BATCH * 2 * IOVEC_BYTES);
    this.#heads = take(BATCH * SLOT_BYTES);
    this.#names = take(BATCH * NAME_BYTES);
    this.#controls = take(BATCH * CONTROL_BYTES);
    this.#padding = take(MAX_PADDING_BYTES);
    this.scratch = take(128);
    // Large buffers are not moved.
    const buffer = new ArrayBuffer(Math.ceil(end / 4_096) * 4_096);
    this.u8 = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.#base = BigInt(addressOf(buffer));
  }

  /** The address of `offset` in this process. */
  address(offset: number): number {
    return Number(this.#base) + offset;
  }

  head(slot: number): number {
    return this.#heads + slot * SLOT_BYTES;
  }

  name(slot: number): number {
    return this.#names + slot * NAME_BYTES;
  }

  control(slot: number): number {
    return this.#controls + slot * CONTROL_BYTES;
  }

  header(slot: number): number {
    return this.messages + slot * MMSGHDR_BYTES;
  }

  /** A message of the head's first `headBytes` and `paddingBytes` zeros. */
  describeOutgoing(
    slot: number,
    sizes: Readonly<Record<"headBytes" | "paddingBytes" | "nameBytes" | "controlBytes", number>>,
  ): void {
    const { headBytes, paddingBytes, nameBytes, controlBytes } = sizes;
    const iovec = this.#iovecs + slot * 2 * IOVEC_BYTES;
    this.#writeIovec(iovec, this.head(slot), headBytes);
    this.#writeIovec(iovec + IOVEC_BYTES, this.#padding, paddingBytes);
    this.#writeHeader(slot, iovec, { iovecs: paddingBytes === 0 ? 1 : 2, nameBytes, controlBytes });
  }

  describeIncoming(slot: number): void {
    const iovec = this.#iovecs + slot * 2 * IOVEC_BYTES;
    this.#writeIovec(iovec, this.head(slot), SLOT_BYTES);
    this.#writeHeader(slot, iovec, { iovecs: 1, nameBytes: NAME_BYTES, controlBytes: CONTROL_BYTES });
  }

  writePointer(at: number, offset: number): void {
    this.view.setBigUint64(at, this.#base + BigInt(offset), true);
  }

  #writeIovec(at: number, offset: number, bytes: number): void {
    this.writePointer(at, offset);
    this.view.setBigUint64(at + 8, BigInt(bytes), true);
  }

  #writeHeader(
    slot: number,
    iovec: number,
    { iovecs, nameBytes, controlBytes }: Readonly<Record<"iovecs" | "nameBytes" | "controlBytes", number>>,
  ): void {
    const at = this.header(slot);
    this.writePointer(at + mmsghdr.name, this.name(slot));
    this.view.setUint32(at + mmsghdr.nameLength, nameBytes, true);
    this.writePointer(at + mmsghdr.iovecs, iovec);
    this.view.setBigUint64(at + mmsghdr.iovecCount, BigInt(iovecs), true);
    if (controlBytes === 0) this.view.setBigUint64(at + mmsghdr.control, 0n, true);
    else this.writePointer(at + mmsghdr.control, this.control(slot));
    this.view.setBigUint64(at + mmsghdr.controlLength, BigInt(controlBytes), true);
    this.view.setInt32(at + mmsghdr.flags, 0, true);
    this.view.setUint32(at + mmsghdr.bytes, 0, true);
  }
}
