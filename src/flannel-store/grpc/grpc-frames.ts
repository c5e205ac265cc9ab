// gRPC's framing of messages on an HTTP/2 stream: one byte of flags, four of length, the message. Pure.
import { noteLargeBuffer } from "../../sys/large-buffers.ts";
import { grpcStatus, RpcError } from "./rpc-error.ts";

const HEADER_BYTES = 5;

export function frame(message: Uint8Array): Buffer {
  return frameOfPieces([message]);
}

/** Of a message that is put together from pieces. */
export function frameOfPieces(pieces: readonly Uint8Array[]): Buffer {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  noteLargeBuffer(length);
  const framed = Buffer.allocUnsafe(HEADER_BYTES + length);
  framed[0] = 0;
  framed.writeUInt32BE(length, 1);
  let at = HEADER_BYTES;
  for (const piece of pieces) {
    framed.set(piece, at);
    at += piece.length;
  }
  return framed;
}

/** Asked for more bytes before they are kept; what it throws ends the call. */
type Reserve = (bytes: number) => void;

const MIN_BLOCK_BYTES = 256;
const MAX_BLOCK_BYTES = 64 * 1024;

/** Puts messages together from the pieces in which they arrive. What is incomplete is kept in memory of its own, counted. */
export class FrameReader {
  readonly #maxBytes: number;
  readonly #reserve: Reserve;
  /** The beginning of a message, gRPC's header included; the last block may have room. */
  #blocks: Buffer[] = [];
  #reserved = 0;
  #length = 0;
  /** Of the message that has begun; of its header while that is not complete. */
  #wholeLength = HEADER_BYTES;

  /** @param reserve told how much more is to be kept, and with a negative number when it is not any more */
  constructor(maxBytes: number, reserve: Reserve = () => undefined) {
    this.#maxBytes = maxBytes;
    this.#reserve = reserve;
  }

  /** A message has begun and is not complete. */
  get isWithin(): boolean {
    return this.#length > 0;
  }

  /** Returns the messages that `piece` completes. Throws an RpcError for one that is too large or compressed. */
  push(piece: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    let rest = piece;
    while (rest.length > 0) {
      const whole = this.#length === 0 && rest.length >= HEADER_BYTES ? wholeBytes(rest, this.#maxBytes) : undefined;
      if (whole !== undefined && whole <= rest.length) {
        // Whole in what has come: not copied.
        messages.push(rest.subarray(HEADER_BYTES, whole));
        rest = rest.subarray(whole);
        continue;
      }
      const taken = rest.subarray(0, this.#wholeLength - this.#length);
      this.#keep(taken);
      rest = rest.subarray(taken.length);
      if (this.#length === HEADER_BYTES) this.#wholeLength = wholeBytes(this.#joined(), this.#maxBytes);
      if (this.#length < this.#wholeLength) continue;
      messages.push(this.#joined().subarray(HEADER_BYTES));
      this.clear();
    }
    return messages;
  }

  /** What is kept is not needed any more. */
  clear(): void {
    if (this.#reserved > 0) this.#reserve(-this.#reserved);
    this.#blocks = [];
    this.#reserved = 0;
    this.#length = 0;
    this.#wholeLength = HEADER_BYTES;
  }

  #keep(piece: Buffer): void {
    let rest = piece;
    while (rest.length > 0) {
      const room = this.#reserved - this.#length;
      if (room === 0) this.#addBlock(rest.length);
      const block = this.#blocks.at(-1) ?? rest;
      const at = block.length - (this.#reserved - this.#length);
      const copied = rest.copy(block, at);
      this.#length += copied;
      rest = rest.subarray(copied);
    }
  }

  /** As large as what is there and, for those who send little at a time, not tiny. */
  #addBlock(bytes: number): void {
    const size = Math.min(Math.max(bytes, this.#reserved, MIN_BLOCK_BYTES), MAX_BLOCK_BYTES);
    this.#reserve(size);
    this.#reserved += size;
    noteLargeBuffer(size);
    this.#blocks.push(Buffer.allocUnsafeSlow(size));
  }

  #joined(): Buffer {
    if (this.#blocks.length > 1) noteLargeBuffer(this.#length);
    return (
      (this.#blocks.length === 1 ? this.#blocks[0] : Buffer.concat(this.#blocks))?.subarray(0, this.#length) ?? empty
    );
  }
}

const empty = Buffer.alloc(0);

/** How long the message that begins here is, with its header, which is complete. */
function wholeBytes(bytes: Buffer, maxBytes: number): number {
  if (bytes[0] !== 0) throw new RpcError(grpcStatus.unimplemented, "grpc: compressed messages are not supported");
  const length = bytes.readUInt32BE(1);
  if (length > maxBytes) {
    const text = `grpc: received message larger than max (${length} vs. ${maxBytes})`;
    throw new RpcError(grpcStatus.resourceExhausted, text);
  }
  return HEADER_BYTES + length;
}

/** What stands before a message of so many bytes, which is sent by itself. */
export function frameHead(messageBytes: number): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUInt32BE(messageBytes, 1);
  return head;
}
