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
import type { Caller } from "./caller.ts";
import type { ConnectionRoom, Entry } from "./connection-room.ts";
import { type Connection, type Ends, GrpcCall, type GrpcMethod } from "./grpc-call.ts";
import { CONNECTION_WINDOW_BYTES, type MemoryBudget } from "./memory-budget.ts";
import { grpcStatus, RpcError, refusals } from "./rpc-error.ts";
import { SocketFileListener } from "./socket-file-listener.ts";
import { endOf, UnauthenticatedConnections } from "./unauthenticated-connections.ts";

export interface GrpcServerOptions {
  /** Missing: no encryption. */
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer; readonly clientCa?: Buffer };
  /** By path, e.g. `/etcdserverpb.KV/Range`. */
  readonly methods: ReadonlyMap<string, GrpcMethod>;
  /** Whether the owner of a verified certificate is authenticated; missing: it is. */
  readonly isKnown?: (certificate: DetailedPeerCertificate) => boolean;
  /** Who calls; undefined for what anybody may call without showing who they are. Throws an RpcError as refusal. */
  readonly authorize: (path: string, ends: Ends) => Caller | undefined;
  /** Shared by the servers of all addresses. */
  readonly room: ConnectionRoom;
  readonly budget: MemoryBudget;
  /** A defect or a broken disk: the client gets "internal". */
  readonly onFailure: (error: unknown) => void;
}

const MAX_STREAMS_PER_CONNECTION = 1_000;
/** Of the headers of one call; a login's token is far shorter. */
const MAX_HEADER_BYTES = 8 * 1024;
/** What Node may hold for a session besides what we count, in megabytes. */
const MAX_SESSION_MEMORY = 32;
/** Between looks for calls that do not go on. */
const LOOK_MS = 1_000;
/** A look that comes so late after the one before: the process was stopped, or got no processor. */
const LATE_LOOK_MS = 3 * LOOK_MS;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** For the last words to clients, when the server ends. */
const GOODBYE_MS = 1_000;
/** A connection whose other end is gone without a word is found out in this time. */
const PING_INTERVAL_MS = 60_000;
const PING_TIMEOUT_MS = 20_000;

/** `port` 0: any. `path`: a Unix socket, for its owner alone. */
export type GrpcAddress = { readonly host: string; readonly port: number } | { readonly path: string };

/** Listens on one address. */
export class GrpcServer implements AsyncDisposable {
  readonly #server: Http2Server | Http2SecureServer;
  readonly #options: GrpcServerOptions;
  readonly #connections = new Map<Http2Session, Connected>();
  readonly #sockets = new Set<Socket>();
  /** Of these, those not (yet) speaking HTTP/2: idle, within the TLS handshake, or of another protocol. */
  readonly #silent = new SilentConnections();
  readonly #calls = new Set<GrpcCall>();
  readonly #looking: NodeJS.Timeout;
  #lookedAtMs = performance.now();
  #socketFile: SocketFileListener | undefined;
  /** Where certificates are wanted: connections without one that is known. */
  readonly #unauthenticated: UnauthenticatedConnections | undefined;

  private constructor(options: GrpcServerOptions) {
    this.#options = options;
    const settings = { maxConcurrentStreams: MAX_STREAMS_PER_CONNECTION, maxHeaderListSize: MAX_HEADER_BYTES };
    const common = { settings, maxSessionMemory: MAX_SESSION_MEMORY };
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
    if (tls?.clientCa !== undefined) this.#unauthenticated = new UnauthenticatedConnections();
    // First: without TLS a session begins in Node's own listener.
    this.#server.prependListener("connection", (socket: Socket) => this.#admit(socket));
    this.#server.on("session", (session) => this.#accept(session));
    this.#server.on("stream", (stream, headers) => this.#serve(stream, headers));
    // Handshakes that fail and clients that vanish are the clients' affair.
    this.#server.on("sessionError", () => undefined);
    this.#server.on("tlsClientError", () => undefined);
    this.#looking = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  /** Rejects with Node's error when the address cannot be listened on, `FILE_FAILED` for a socket. */
  static async listen(address: GrpcAddress, options: GrpcServerOptions): Promise<GrpcServer> {
    const server = new GrpcServer(options);
    try {
      await ("path" in address ? server.#listenOnFile(address.path) : server.#listenOnPort(address));
    } catch (error) {
      clearInterval(server.#looking);
      throw error;
    }
    server.#server.on("error", options.onFailure);
    return server;
  }

  async #listenOnPort({ host, port }: { readonly host: string; readonly port: number }): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject);
    this.#server.listen(port, host, resolve);
    await promise;
    this.#server.off("error", reject);
  }

  async #listenOnFile(path: string): Promise<void> {
    const { onFailure } = this.#options;
    const onConnection = (socket: Socket) => void this.#server.emit("connection", socket);
    this.#socketFile = await SocketFileListener.open({ path, onConnection, onFailure });
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
    clearInterval(this.#looking);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const session of this.#connections.keys()) session.destroy(undefined, constants.NGHTTP2_NO_ERROR);
    // Nobody is waited for: neither until a handshake times out, nor for a client that does not read that this is the end.
    for (const { socket } of this.#silent.all) socket.destroy();
    const goodbye = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, GOODBYE_MS);
    await Promise.all([promise, this.#socketFile?.[Symbol.asyncDispose]()]);
    clearTimeout(goodbye);
  }

  #admit(socket: Socket): void {
    this.#sockets.add(socket);
    const entry = this.#options.room.admit(socket);
    this.#silent.add(entry);
    socket.once("close", () => this.#sockets.delete(socket));
    this.#unauthenticated?.admit(socket);
  }

  #accept(session: ServerHttp2Session): void {
    const entry = this.#silent.take(session);
    if (entry === undefined) {
      session.destroy();
      return;
    }
    entry.greet(session);
    const certificate = verifiedCertificate(session);
    const { remoteAddress = "" } = session.socket;
    const { isKnown = () => true, budget, tls } = this.#options;
    if (certificate !== undefined && isKnown(certificate)) this.#unauthenticated?.release(session.socket);
    else this.#unauthenticated?.watch(session);
    const account = budget.open(() => entry.cut());
    const certificateProblem = problemOf(session);
    this.#connections.set(session, {
      entry,
      account,
      certificate,
      certificateProblem,
      remoteAddress,
      copies: tls === undefined ? 1 : 2,
    });
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    session.on("error", () => undefined);
    const pinger = setInterval(() => pingOrDestroy(session), PING_INTERVAL_MS);
    pinger.unref();
    session.once("close", () => {
      clearInterval(pinger);
      this.#connections.delete(session);
      account.close();
    });
  }

  #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    // A client that resets its stream is no error of ours.
    stream.on("error", () => undefined);
    const connection = stream.session && this.#connections.get(stream.session);
    if (connection === undefined) return;
    const call = new GrpcCall(stream, connection, this.#options.onFailure);
    try {
      this.#start(call, stream, headers, connection);
    } catch (error) {
      call.fail(error);
      stream.resume();
    }
  }

  #start(call: GrpcCall, stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: Connected): void {
    const { methods, authorize, room } = this.#options;
    const { entry, certificate, certificateProblem, remoteAddress } = connection;
    if (!room.beginCall(entry)) {
      // Without an answer, which the stream would have to wait for.
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    this.#calls.add(call);
    stream.once("close", () => {
      room.endCall(entry);
      this.#calls.delete(call);
      call.closed();
    });
    const path = headers[":path"] ?? "";
    const method = methods.get(path);
    if (method === undefined) throw unimplemented(path);
    const ends = { headers, certificate, certificateProblem, remoteAddress };
    const caller = authorize(path, ends);
    if (caller !== undefined) entry.isTrusted = true;
    if (entry.isSurplus) throw refusals.tooManyRequests();
    // Without the headers: a call may last, and they are the client's to choose.
    method.start(call, { ...ends, headers: {}, caller: caller ?? { kind: "anybody" } });
  }

  #look(): void {
    const nowMs = performance.now();
    const isLate = nowMs - this.#lookedAtMs > LATE_LOOK_MS;
    this.#lookedAtMs = nowMs;
    // Stopped or starved, we have not read what clients sent in time: the next look is fair again.
    if (isLate) for (const call of this.#calls) call.forgiveDelay(nowMs);
    else for (const call of this.#calls) call.checkDeadlines(nowMs);
    this.#options.room.closeSilent();
    this.#socketFile?.look();
  }
}

/** What is known of a session. */
interface Connected extends Connection {
  readonly entry: Entry;
}

/** Sockets of which it is not known yet what they speak. */
class SilentConnections {
  /** By their ends, which those of a Unix socket do not have. */
  readonly #entries = new Map<unknown, Entry>();
  #last: Entry | undefined;

  get all(): Iterable<Entry> {
    return this.#entries.values();
  }

  add(entry: Entry): void {
    const { socket } = entry;
    // Without TLS the session begins before the next socket comes.
    this.#last = entry;
    const key = socket.remotePort === undefined ? entry : endOf(socket);
    this.#entries.set(key, entry);
    socket.once("close", () => this.#remove(key, entry));
  }

  /** The one on which a session has begun. */
  take({ socket, encrypted }: ServerHttp2Session): Entry | undefined {
    const end = endOf(socket);
    const entry = encrypted === true ? this.#entries.get(end) : this.#last;
    if (entry !== undefined) this.#remove(socket.remotePort === undefined ? entry : end, entry);
    return entry;
  }

  #remove(key: unknown, entry: Entry): void {
    // The ends of one that was closed by us may be another's by now.
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
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
