// One gRPC call on an HTTP/2 stream: messages in and out, status trailers, backpressure of its stream and connection.
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { DetailedPeerCertificate } from "node:tls";
import { FrameReader, frame } from "./grpc-frames.ts";
import { grpcStatus, RpcError } from "./rpc-error.ts";

/** Who calls. */
export interface CallContext {
  readonly headers: IncomingHttpHeaders;
  /** The certificate the client showed and that was verified. The same object for all calls of a connection. */
  readonly certificate: DetailedPeerCertificate | undefined;
  /** OpenSSL's name of what was wrong with a certificate that was shown. */
  readonly certificateProblem: string | undefined;
  /** Of the other end; "" when it is gone. */
  readonly remoteAddress: string;
}

export interface GrpcMethod {
  /** Takes over the call; what it throws ends the call. */
  start(call: GrpcCall, context: CallContext): void;
}

/** etcd's limit of a request, and of what its framing lets in at all. */
export const MAX_REQUEST_BYTES = 1_536 * 1024;
const MAX_MESSAGE_BYTES = MAX_REQUEST_BYTES + 512 * 1024;
/** With more of them on one connection, its streams are sent nothing until half of it has left. */
const CONGESTED_BYTES = 8 * 1024 * 1024;

/** What the calls of one connection share. */
export interface Connection extends Pick<CallContext, "certificate" | "certificateProblem" | "remoteAddress"> {
  /** Over the limit: every call is refused. */
  readonly isSurplus: boolean;
  /** Written and not yet taken by the client. */
  pendingBytes: number;
  isCongested: boolean;
  /** What the calls do when there is room again. */
  readonly onRoom: Set<() => void>;
}

/** One call on the wire. Ends exactly once. */
export class GrpcCall {
  readonly #stream: ServerHttp2Stream;
  readonly #connection: Connection;
  readonly #onFailure: (error: unknown) => void;
  #isStarted = false;
  #isEnded = false;

  constructor(stream: ServerHttp2Stream, connection: Connection, onFailure: (error: unknown) => void) {
    this.#stream = stream;
    this.#connection = connection;
    this.#onFailure = onFailure;
  }

  /** More should not be written now: see `onDrain`. */
  get isCongested(): boolean {
    return this.#stream.writableNeedDrain || this.#connection.isCongested;
  }

  get isEnded(): boolean {
    return this.#isEnded || this.#stream.destroyed;
  }

  onDrain(action: () => void): void {
    const { onRoom } = this.#connection;
    this.#stream.on("drain", action);
    onRoom.add(action);
    this.#stream.once("close", () => onRoom.delete(action));
  }

  onClose(action: () => void): void {
    this.#stream.once("close", action);
  }

  /** Calls `onMessage` for each message, `onEnd` when the client has no more. Throws nothing; errors end the call. */
  read(onMessage: (message: Buffer) => void, onEnd: () => void, maxBytes = MAX_MESSAGE_BYTES): void {
    const reader = new FrameReader(maxBytes);
    this.#stream.on("data", (piece: Buffer) => {
      // A client may go on sending when it has its answer: nothing of that is kept.
      if (this.isEnded) return;
      try {
        for (const message of reader.push(piece)) if (!this.isEnded) onMessage(message);
      } catch (error) {
        this.fail(error);
      }
    });
    this.#stream.on("end", onEnd);
  }

  /** The client's messages wait while it does not take ours. */
  pauseReading(): void {
    this.#stream.pause();
  }

  resumeReading(): void {
    this.#stream.resume();
  }

  send(message: Uint8Array): void {
    this.sendFrame(frame(message));
  }

  /** `framed` with gRPC's header already. It may be shared by many calls. */
  sendFrame(framed: Buffer): void {
    if (this.isEnded) return;
    this.#start();
    this.#stream.write(framed, this.#count(framed.length));
  }

  /** The last message, if any, and the status "ok". */
  end(message?: Uint8Array): void {
    if (this.isEnded) return;
    this.#start();
    this.#isEnded = true;
    if (message === undefined) this.#stream.end();
    else {
      const framed = frame(message);
      this.#stream.end(framed, this.#count(framed.length));
    }
  }

  /** Ends the call with the error's status; any other error than an RpcError is ours. */
  fail(error: unknown): void {
    if (this.isEnded) return;
    if (!(error instanceof RpcError)) this.#onFailure(error);
    const { status, message } =
      error instanceof RpcError ? error : { status: grpcStatus.internal, message: "etcdserver: internal error" };
    const trailers = { "grpc-status": String(status), "grpc-message": percentEncode(message) };
    this.#isEnded = true;
    if (this.#isStarted) {
      this.#stream.removeAllListeners("wantTrailers");
      this.#stream.once("wantTrailers", () => this.#stream.sendTrailers(trailers));
      this.#stream.end();
    } else {
      this.#stream.respond({ ":status": 200, "content-type": "application/grpc", ...trailers }, { endStream: true });
    }
  }

  /** Returns what to call when the bytes have left. */
  #count(bytes: number): () => void {
    const connection = this.#connection;
    connection.pendingBytes += bytes;
    if (connection.pendingBytes > CONGESTED_BYTES) connection.isCongested = true;
    return () => {
      connection.pendingBytes -= bytes;
      if (!connection.isCongested || connection.pendingBytes > CONGESTED_BYTES / 2) return;
      connection.isCongested = false;
      for (const action of connection.onRoom) action();
    };
  }

  #start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    this.#stream.once("wantTrailers", () => this.#stream.sendTrailers({ "grpc-status": "0" }));
  }
}

/** As gRPC wants its messages: printable ASCII, the rest and "%" in hex. */
function percentEncode(text: string): string {
  return [...Buffer.from(text)]
    .map((byte) => (byte >= 0x20 && byte < 0x7f && byte !== 0x25 ? String.fromCharCode(byte) : hex(byte)))
    .join("");
}

function hex(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}
