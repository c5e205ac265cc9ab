// A gRPC server on Node's HTTP/2: unary and bidirectional methods, status trailers, backpressure, limits. It is not
// grpc-js's because a client without certificate must be able to join, and because watches write shared bytes.
import {
  constants,
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import { type DetailedPeerCertificate, type SecureContextOptions, TLSSocket } from "node:tls";
import { FrameReader, frame } from "./grpc-frames.ts";
import { grpcStatus, RpcError, refusals } from "./rpc-error.ts";
import { Strangers } from "./strangers.ts";

/** Who calls. */
export interface CallContext {
  readonly headers: IncomingHttpHeaders;
  /** The certificate the client showed and that was verified. The same object for all calls of a connection. */
  readonly certificate: DetailedPeerCertificate | undefined;
  /** OpenSSL's name of what was wrong with a certificate that was shown. */
  readonly certificateProblem: string | undefined;
  /** Of the other end; "" when it is gone. */
  readonly remoteAddress: string;
  /** Runs `action` when the call is over, its answer sent or lost. */
  onClose(action: () => void): void;
}

export interface GrpcMethod {
  /** Takes over the call; what it throws ends the call. */
  start(call: GrpcCall, context: CallContext): void;
}

export interface GrpcServerOptions {
  /** Missing: no encryption. */
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer; readonly clientCa?: Buffer };
  /** By path, e.g. `/etcdserverpb.KV/Range`. */
  readonly methods: ReadonlyMap<string, GrpcMethod>;
  /** Whether the owner of a verified certificate is more than a stranger; missing: it is. */
  readonly isKnown?: (certificate: DetailedPeerCertificate) => boolean;
  /** Throws an RpcError for a call that may not be made. */
  readonly authorize: (path: string, context: CallContext) => void;
  readonly maxConnections: number;
  /** A defect or a broken disk: the client is told "internal". */
  readonly onFailure: (error: unknown) => void;
}

/** etcd's limit of a request, and of what its framing lets in at all. */
export const MAX_REQUEST_BYTES = 1_536 * 1024;
const MAX_MESSAGE_BYTES = MAX_REQUEST_BYTES + 512 * 1024;
const MAX_STREAMS_PER_CONNECTION = 2_000;
/** Answers a client has not taken yet; with more, its further calls are refused. */
const MAX_PENDING_BYTES = 64 * 1024 * 1024;
/** With more of them on one connection, its streams are sent nothing until half of it has left. */
const CONGESTED_BYTES = 8 * 1024 * 1024;
/** Connections over the limit that are told so; with more, further ones are closed. */
const SURPLUS_CONNECTIONS = 50;
const WINDOW_BYTES = 1024 * 1024;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** A connection whose other end is gone without a word is found out in this time. */
const PING_INTERVAL_MS = 60_000;
const PING_TIMEOUT_MS = 20_000;

interface Connection extends Pick<CallContext, "certificate" | "certificateProblem" | "remoteAddress"> {
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

/** Listens on one address. */
export class GrpcServer implements AsyncDisposable {
  readonly #server: Http2Server | Http2SecureServer;
  readonly #options: GrpcServerOptions;
  readonly #connections = new Map<Http2Session, Connection>();
  /** Where certificates are wanted: connections without one that is known. */
  readonly #strangers: Strangers | undefined;

  private constructor(options: GrpcServerOptions) {
    this.#options = options;
    const settings = { maxConcurrentStreams: MAX_STREAMS_PER_CONNECTION, initialWindowSize: WINDOW_BYTES };
    const common = { settings, maxSessionMemory: 128 };
    const { tls } = options;
    this.#server =
      tls === undefined
        ? createServer(common)
        : createSecureServer({
            ...common,
            ...secureContext(tls),
            requestCert: tls.clientCa !== undefined,
            // Who shows none is refused call by call: joining is done without.
            rejectUnauthorized: false,
            handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
          });
    if (tls?.clientCa !== undefined) {
      this.#strangers = new Strangers();
      this.#server.on("connection", (socket: Socket) => this.#strangers?.admit(socket));
    }
    this.#server.maxConnections = options.maxConnections + SURPLUS_CONNECTIONS;
    this.#server.on("session", (session) => this.#accept(session));
    this.#server.on("stream", (stream, headers) => this.#serve(stream, headers));
    // Handshakes that fail and clients that vanish are the clients' affair.
    this.#server.on("sessionError", () => undefined);
    this.#server.on("tlsClientError", () => undefined);
  }

  /** Rejects with Node's error when the address cannot be listened on. `port` 0: any. */
  static async listen(host: string, port: number, options: GrpcServerOptions): Promise<GrpcServer> {
    const server = new GrpcServer(options);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.#server.once("error", reject);
    server.#server.listen(port, host, resolve);
    await promise;
    server.#server.off("error", reject);
    server.#server.on("error", options.onFailure);
    return server;
  }

  /** New connections see these; throws when they cannot be used, and then the old ones stay. */
  replaceTls(tls: NonNullable<GrpcServerOptions["tls"]>): void {
    if ("setSecureContext" in this.#server) this.#server.setSecureContext(secureContext(tls));
  }

  get port(): number {
    const address = this.#server.address();
    return address === null || typeof address === "string" ? 0 : address.port;
  }

  /** The certificates of those who are connected now. */
  get connectedCertificates(): DetailedPeerCertificate[] {
    return [...this.#connections.values()].flatMap(({ certificate }) => certificate ?? []);
  }

  /** Ends the connections of those whose certificate `matches`, with all their calls. */
  closeConnections(matches: (certificate: DetailedPeerCertificate) => boolean): void {
    for (const [session, { certificate }] of this.#connections) {
      if (certificate !== undefined && matches(certificate)) session.destroy(undefined, constants.NGHTTP2_NO_ERROR);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const session of this.#connections.keys()) session.destroy(undefined, constants.NGHTTP2_NO_ERROR);
    await promise;
  }

  #accept(session: ServerHttp2Session): void {
    const certificate = verifiedCertificate(session);
    const { remoteAddress = "" } = session.socket;
    const { isKnown = () => true } = this.#options;
    if (certificate !== undefined && isKnown(certificate)) this.#strangers?.release(session.socket);
    else this.#strangers?.watch(session);
    this.#connections.set(session, {
      certificate,
      certificateProblem: problemOf(session),
      remoteAddress,
      isSurplus: this.#connections.size >= this.#options.maxConnections,
      pendingBytes: 0,
      isCongested: false,
      onRoom: new Set(),
    });
    session.setLocalWindowSize(4 * WINDOW_BYTES);
    session.on("error", () => undefined);
    const pinger = setInterval(() => pingOrDestroy(session), PING_INTERVAL_MS);
    pinger.unref();
    session.once("close", () => {
      clearInterval(pinger);
      this.#connections.delete(session);
    });
  }

  #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    // A client that resets its stream is no error of ours.
    stream.on("error", () => undefined);
    const connection = stream.session && this.#connections.get(stream.session);
    if (connection === undefined) return;
    const call = new GrpcCall(stream, connection, this.#options.onFailure);
    try {
      const { certificate, certificateProblem, remoteAddress } = connection;
      const onClose = (action: () => void) => call.onClose(action);
      const context = { headers, certificate, certificateProblem, remoteAddress, onClose };
      const path = headers[":path"] ?? "";
      const method = this.#options.methods.get(path);
      if (method === undefined) throw unimplemented(path);
      this.#options.authorize(path, context);
      if (connection.isSurplus || connection.pendingBytes > MAX_PENDING_BYTES) throw refusals.tooManyRequests();
      method.start(call, context);
    } catch (error) {
      call.fail(error);
      stream.resume();
    }
  }
}

function secureContext({ cert, key, clientCa }: NonNullable<GrpcServerOptions["tls"]>): SecureContextOptions {
  return { cert, key, minVersion: "TLSv1.2", ...(clientCa !== undefined && { ca: clientCa }) };
}

function pingOrDestroy(session: ServerHttp2Session): void {
  const timeout = setTimeout(() => session.destroy(), PING_TIMEOUT_MS);
  timeout.unref();
  if (!session.ping(() => clearTimeout(timeout))) session.destroy();
}

function verifiedCertificate({ socket }: ServerHttp2Session): DetailedPeerCertificate | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const certificate = socket.getPeerCertificate(true);
  // Without one it is an empty object, and a resumed session of TLS 1.3 may count as authorized all the same.
  return certificate.raw === undefined ? undefined : certificate;
}

function problemOf({ socket }: ServerHttp2Session): string | undefined {
  if (!(socket instanceof TLSSocket) || socket.authorized) return undefined;
  return socket.getPeerX509Certificate() === undefined ? undefined : String(socket.authorizationError);
}

function unimplemented(path: string): RpcError {
  const method = path.replace(/^.*\//, "") || "this";
  return new RpcError(
    grpcStatus.unimplemented,
    `flannel-store: ${method} is not offered by the embedded store; use a real etcd for it`,
  );
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
