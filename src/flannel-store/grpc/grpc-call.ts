// One gRPC call on an HTTP/2 stream: messages in and out, status trailers, backpressure of its stream and connection.
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { DetailedPeerCertificate } from "node:tls";
import { noteLargeBuffer } from "../../sys/large-buffers.ts";
import type { Caller } from "./caller.ts";
import { FrameReader, frame, frameHead } from "./grpc-frames.ts";
import type { Account, Portion } from "./memory-budget.ts";
import { encodeStatusMessage, grpcStatus, RpcError, refusals } from "./rpc-error.ts";

/** Who calls. */
export interface CallContext extends Ends {
  /** As `authorize` found. */
  readonly caller: Caller;
}

/** What is known of the other end before it is authorized. */
export interface Ends {
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
/** A request, or a message of a stream, has to be complete in this time. */
const REQUEST_MS = 10_000;
/** A client that takes nothing of its answer for so long, or is not done with all of it by then, is given up. */
const ANSWER_STALL_MS = 30_000;
const ANSWER_MS = 900_000;
/** Less than what is counted for a call anyway. */
const SMALL_BYTES = 4 * 1024;
const COPIED_BYTES = 16 * 1024;
/** Of a large answer; progress is noted after each. */
const PIECE_BYTES = 256 * 1024;

/** What the calls of one connection share. */
export interface Connection extends Pick<Ends, "certificate" | "certificateProblem" | "remoteAddress"> {
  readonly account: Account;
  /** Each byte of an answer is held so many times: encrypted as well. */
  readonly copies: number;
}

/** An answer that is made piece by piece, as the client takes it. */
export interface PagedAnswer {
  /** Of the whole message. */
  readonly totalBytes: number;
  /** At most so many bytes are in one page. */
  readonly maxPageBytes: number;
  /** Undefined behind the last one. */
  next(): Uint8Array | undefined;
}

/** One call on the wire. Ends exactly once. */
export class GrpcCall {
  readonly #stream: ServerHttp2Stream;
  readonly #connection: Connection;
  readonly #onFailure: (error: unknown) => void;
  /** Of our answer: nothing sent, its headers, its end. */
  #answer: "none" | "begun" | "ended" = "none";
  #hasAllOfClient = false;
  /** The unary request, while it is worked on. */
  #request: Portion | undefined;
  #reader: FrameReader | undefined;
  /** Since when the client owes us the rest of a message; undefined: it owes nothing. */
  #owedSinceMs: number | undefined = performance.now();
  #answeredAtMs = 0;
  #progressAtMs = 0;
  #isWaitingForRoom = false;

  constructor(stream: ServerHttp2Stream, connection: Connection, onFailure: (error: unknown) => void) {
    this.#stream = stream;
    this.#connection = connection;
    this.#onFailure = onFailure;
  }

  /** More should not be written now: see `onDrain`. */
  get isCongested(): boolean {
    return this.#stream.writableNeedDrain || this.#connection.account.isCongested;
  }

  get isEnded(): boolean {
    return this.#answer === "ended" || this.#stream.destroyed;
  }

  onDrain(action: () => void): void {
    const { onRoom } = this.#connection.account;
    this.#stream.on("drain", action);
    onRoom.add(action);
    this.#stream.once("close", () => onRoom.delete(action));
  }

  onClose(action: () => void): void {
    this.#stream.once("close", action);
  }

  /**
   * Calls `onMessage` for each message, `onEnd` when the client has no more. Throws nothing; errors end the call. With
   * `isUnary` the first message counts as held until the call ends.
   */
  read(
    onMessage: (message: Buffer) => void,
    onEnd: () => void,
    { maxBytes = MAX_MESSAGE_BYTES, isUnary = false }: { readonly maxBytes?: number; readonly isUnary?: boolean } = {},
  ): void {
    const reader = new FrameReader(maxBytes, this.#reserver());
    this.#reader = reader;
    // A stream may be silent for as long as its client likes, as in etcd: it owes the rest of what it has begun.
    if (!isUnary) this.#owedSinceMs = undefined;
    this.#stream.on("data", (piece: Buffer) => {
      // A client may go on sending when it has its answer: nothing of that is kept.
      if (this.isEnded) return;
      try {
        for (const message of reader.push(piece)) {
          if (this.isEnded) return;
          if (isUnary) this.#hold(message.length);
          onMessage(message);
        }
        this.#noteOwed(reader.isWithin, isUnary);
      } catch (error) {
        this.fail(error);
      }
    });
    this.#stream.on("end", () => {
      this.#hasAllOfClient = true;
      this.#owedSinceMs = undefined;
      onEnd();
    });
  }

  /** To be called when the stream has closed. */
  closed(): void {
    this.#dropRequest();
    this.#connection.account.unpause(this);
  }

  /** The client's messages wait while it does not take ours. What it may send meanwhile is counted. */
  pauseReading(): void {
    if (this.isEnded || this.#stream.isPaused()) return;
    this.#connection.account.pause(this);
    this.#stream.pause();
  }

  resumeReading(): void {
    this.#connection.account.unpause(this);
    this.#stream.resume();
  }

  send(message: Uint8Array): void {
    this.sendFrame(frame(message));
  }

  /** `framed` with gRPC's header already. It may be shared by many calls. */
  sendFrame(framed: Buffer): void {
    if (this.isEnded) return;
    this.#start();
    const portion = this.#connection.account.add(framed.length * this.#connection.copies);
    this.#stream.write(framed, () => portion.release());
  }

  /** The last message, if any, and the status "ok". `reserved` is what was counted for it before it was made. */
  end(message?: Uint8Array, reserved?: Portion): void {
    if (this.isEnded) {
      reserved?.release();
      return;
    }
    this.#start();
    this.#answer = "ended";
    if (message === undefined) this.#stream.end();
    else if (message.length <= SMALL_BYTES && this.#request === undefined) {
      reserved?.release();
      this.#stream.end(frame(message));
    } else this.#writeLast(message, reserved ?? this.#connection.account.add(message.length * this.#connection.copies));
    this.#noteAnswered();
  }

  /** Of its connection. */
  get account(): Account {
    return this.#connection.account;
  }

  /** Counts `bytes` of an answer before it is made, now, or throws a refusal. */
  take(bytes: number): Portion {
    return this.#connection.account.take(bytes * this.#connection.copies);
  }

  /** Counts `bytes` of an answer before it is made, as soon as there is room; undefined when the client is gone. */
  async reserve(bytes: number): Promise<Portion | undefined> {
    const portion = await this.#connection.account.wait(bytes * this.#connection.copies);
    if (!this.isEnded) return portion;
    portion?.release();
    return undefined;
  }

  /** Sends the answer as fast as the client takes it: each page is read when the one before has left. */
  async endPaged({ totalBytes, maxPageBytes, next }: PagedAnswer): Promise<void> {
    this.#start();
    this.#noteAnswered();
    this.#stream.write(frameHead(totalBytes));
    for (;;) {
      // It is others' turn to make room: the client is not late meanwhile.
      this.#isWaitingForRoom = true;
      const portion = await this.reserve(maxPageBytes);
      this.#isWaitingForRoom = false;
      if (portion === undefined) return;
      this.#progressAtMs = performance.now();
      const written = this.#writePage(next, portion);
      if (written === undefined) break;
      await written;
      this.#progressAtMs = performance.now();
    }
    this.end();
  }

  /** Ends the call with the error's status; any other error than an RpcError is ours. */
  fail(error: unknown): void {
    if (this.isEnded) return;
    if (!(error instanceof RpcError)) this.#onFailure(error);
    const { status, message } =
      error instanceof RpcError ? error : { status: grpcStatus.internal, message: "etcdserver: internal error" };
    const trailers = { "grpc-status": String(status), "grpc-message": encodeStatusMessage(message) };
    const hasBegun = this.#answer === "begun";
    this.#answer = "ended";
    this.#dropRequest();
    this.#noteAnswered();
    if (hasBegun) {
      this.#stream.removeAllListeners("wantTrailers");
      this.#stream.once("wantTrailers", () => this.#stream.sendTrailers(trailers));
      this.#stream.end();
    } else {
      this.#stream.respond({ ":status": 200, "content-type": "application/grpc", ...trailers }, { endStream: true });
    }
  }

  /** We could not hear the client for a while: its times restart. */
  forgiveDelay(nowMs: number): void {
    if (this.#owedSinceMs !== undefined) this.#owedSinceMs = nowMs;
    this.#progressAtMs = nowMs;
  }

  /** To be called now and then. Ends the call of a client that does not send or take what it has begun. */
  checkDeadlines(nowMs: number): void {
    if (this.#stream.destroyed) return;
    if (this.#owedSinceMs !== undefined && nowMs - this.#owedSinceMs > REQUEST_MS) {
      this.fail(refusals.requestTooSlow());
      this.#owedSinceMs = undefined;
      // The client has not ended its side: without this the stream would stay open.
      this.#stream.close(constants.NGHTTP2_NO_ERROR);
    } else if (this.#answeredAtMs > 0) {
      const isStalled = !this.#isWaitingForRoom && nowMs - this.#progressAtMs > ANSWER_STALL_MS;
      const isTooLong = nowMs - this.#answeredAtMs > ANSWER_MS;
      if (isStalled || isTooLong) this.#connection.account.evict();
    }
  }

  /** A small request is part of what the call costs, and is never refused. */
  #hold(bytes: number): void {
    if (bytes <= SMALL_BYTES || this.#request !== undefined) return;
    this.#request = this.#connection.account.take(bytes);
    this.#request.isWorkedOn = true;
  }

  #noteOwed(isWithin: boolean, isUnary: boolean): void {
    // A unary call owes its end as well.
    if (isWithin) this.#owedSinceMs ??= performance.now();
    else if (!isUnary || this.#hasAllOfClient) this.#owedSinceMs = undefined;
  }

  #noteAnswered(): void {
    this.#answeredAtMs ||= performance.now();
    this.#progressAtMs = performance.now();
  }

  #reserver(): (bytes: number) => void {
    const { account } = this.#connection;
    let portion: Portion | undefined;
    return (bytes) => {
      if (bytes < 0) {
        portion?.release();
        portion = undefined;
      } else if (portion === undefined) portion = account.take(bytes);
      else account.grow(portion, bytes);
    };
  }

  #dropRequest(): void {
    this.#request?.release();
    this.#request = undefined;
    this.#reader?.clear();
  }

  #writeLast(message: Uint8Array, portion: Portion): void {
    const done = () => {
      portion.release();
      this.#dropRequest();
    };
    if (message.length <= COPIED_BYTES) {
      this.#stream.end(frame(message), done);
      return;
    }
    // A large message is not copied behind its header.
    this.#stream.write(frameHead(message.length));
    const noteProgress = () => {
      this.#progressAtMs = performance.now();
    };
    const last = Math.floor((message.length - 1) / PIECE_BYTES) * PIECE_BYTES;
    for (let at = 0; at < last; at += PIECE_BYTES) {
      this.#stream.write(message.subarray(at, at + PIECE_BYTES), noteProgress);
    }
    this.#stream.end(message.subarray(last), done);
  }

  /** Undefined when there is none. Throws what `next` throws. */
  #writePage(next: () => Uint8Array | undefined, portion: Portion): Promise<void> | undefined {
    let page: Uint8Array | undefined;
    try {
      page = next();
    } catch (error) {
      portion.release();
      throw error;
    }
    if (page === undefined) {
      portion.release();
      return undefined;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = () => {
      portion.release();
      resolve();
    };
    portion.shrinkTo(page.length * this.#connection.copies);
    noteLargeBuffer(page.length);
    this.#stream.once("close", done);
    this.#stream.write(page, () => {
      this.#stream.off("close", done);
      done();
    });
    return promise;
  }

  #start(): void {
    if (this.#answer !== "none") return;
    this.#answer = "begun";
    this.#stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    this.#stream.once("wantTrailers", () => this.#stream.sendTrailers({ "grpc-status": "0" }));
  }
}
