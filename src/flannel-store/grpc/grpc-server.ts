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
import { type CallContext, type Connection, GrpcCall, type GrpcMethod } from "./grpc-call.ts";
import { grpcStatus, RpcError, refusals } from "./rpc-error.ts";
import { endOf, Strangers } from "./strangers.ts";

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

const MAX_STREAMS_PER_CONNECTION = 2_000;
/** Answers a client has not taken yet; with more, its further calls are refused. */
const MAX_PENDING_BYTES = 64 * 1024 * 1024;
/** Connections over the limit that are told so; with more, further ones are closed. */
const SURPLUS_CONNECTIONS = 50;
const WINDOW_BYTES = 1024 * 1024;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** For the last words to clients, when the server ends. */
const GOODBYE_MS = 1_000;
/** A connection whose other end is gone without a word is found out in this time. */
const PING_INTERVAL_MS = 60_000;
const PING_TIMEOUT_MS = 20_000;

/** Listens on one address. */
export class GrpcServer implements AsyncDisposable {
  readonly #server: Http2Server | Http2SecureServer;
  readonly #options: GrpcServerOptions;
  readonly #connections = new Map<Http2Session, Connection>();
  readonly #sockets = new Set<Socket>();
  /** Of these, those not (yet) speaking HTTP/2: idle, within the TLS handshake, or of another protocol. By their ends. */
  readonly #silent = new Map<string, Socket>();
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
    if (tls?.clientCa !== undefined) this.#strangers = new Strangers();
    // First: without TLS a session begins in Node's own listener.
    this.#server.prependListener("connection", (socket: Socket) => this.#admit(socket));
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
    // Nobody is waited for: neither until a handshake times out, nor for a client that does not read that this is the end.
    for (const socket of this.#silent.values()) socket.destroy();
    const goodbye = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, GOODBYE_MS);
    await promise;
    clearTimeout(goodbye);
  }

  #admit(socket: Socket): void {
    const end = endOf(socket);
    this.#sockets.add(socket);
    this.#silent.set(end, socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      if (this.#silent.get(end) === socket) this.#silent.delete(end);
    });
    this.#strangers?.admit(socket);
  }

  #accept(session: ServerHttp2Session): void {
    this.#silent.delete(endOf(session.socket));
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
      const context = { headers, certificate, certificateProblem, remoteAddress };
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
  // Between its end and "close", by which this stops: after a pause of the whole process all timers are due at once.
  if (session.destroyed) return;
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
