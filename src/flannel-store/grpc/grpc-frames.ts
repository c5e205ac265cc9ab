// gRPC's framing of messages on an HTTP/2 stream: one byte of flags, four of length, the message. Pure.
import { grpcStatus, RpcError } from "./rpc-error.ts";

const HEADER_BYTES = 5;

export function frame(message: Uint8Array): Buffer {
  return frameOfPieces([message]);
}

/** Of a message that is put together from pieces. */
export function frameOfPieces(pieces: readonly Uint8Array[]): Buffer {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
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

/** Puts messages together from the pieces in which they arrive. */
export class FrameReader {
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #length = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Returns the messages that `piece` completes. Throws an RpcError for one that is too large or compressed. */
  push(piece: Buffer): Buffer[] {
    this.#pieces.push(piece);
    this.#length += piece.length;
    const messages: Buffer[] = [];
    while (this.#length >= HEADER_BYTES) {
      const end = HEADER_BYTES + this.#messageLength();
      if (this.#length < end) break;
      const bytes = this.#joined();
      messages.push(bytes.subarray(HEADER_BYTES, end));
      this.#pieces = [bytes.subarray(end)];
      this.#length = bytes.length - end;
    }
    return messages;
  }

  #messageLength(): number {
    const first = this.#pieces[0];
    const bytes = first !== undefined && first.length >= HEADER_BYTES ? first : this.#joined();
    if (bytes[0] !== 0) throw new RpcError(grpcStatus.unimplemented, "grpc: compressed messages are not supported");
    const length = bytes.readUInt32BE(1);
    if (length > this.#maxBytes) {
      const text = `grpc: received message larger than max (${length} vs. ${this.#maxBytes})`;
      throw new RpcError(grpcStatus.resourceExhausted, text);
    }
    return length;
  }

  #joined(): Buffer {
    const bytes = this.#pieces.length === 1 ? this.#pieces[0] : undefined;
    if (bytes !== undefined) return bytes;
    const joined = Buffer.concat(this.#pieces);
    this.#pieces = [joined];
    return joined;
  }
}
