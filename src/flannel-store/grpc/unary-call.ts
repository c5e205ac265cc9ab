// One gRPC call with one answer over a TLS connection of its own. Small enough for a program that calls once, and the
// only way to look at the server's key before anything is said to it.
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { FlannelError } from "../../errors.ts";
import { fromStatus, reasonOf } from "./call-errors.ts";
import { FrameReader, frame } from "./grpc-frames.ts";
import type { StoreAddress } from "./store-address.ts";

interface MessageType<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

export interface UnaryMethod<Request, Response> {
  readonly service: { readonly fullName: string };
  readonly method: {
    readonly name: string;
    readonly requestType: MessageType<Request>;
    readonly responseType: MessageType<Response>;
  };
}

export interface CallTarget {
  readonly address: StoreAddress;
  readonly tls: Pick<ConnectionOptions, "ca" | "cert" | "key" | "rejectUnauthorized">;
  /** Called when the handshake is done and before anything is sent; what it throws ends the call. */
  readonly checkServer?: (socket: TLSSocket) => void;
  /** For messages: "join the cluster". */
  readonly operation: string;
  /** Default 15,000. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 15_000;
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/** Rejects with a FlannelError; `CANCELLED` when `signal` aborts. */
export async function callUnary<Request, Response>(
  target: CallTarget,
  { service, method }: UnaryMethod<Request, Response>,
  request: Request,
  signal: AbortSignal,
): Promise<Response> {
  const { operation, address, timeoutMs = TIMEOUT_MS } = target;
  const timeout = AbortSignal.timeout(timeoutMs);
  const life = AbortSignal.any([signal, timeout]);
  try {
    const socket = await connect(target, life);
    using session = openSession(socket, address);
    const message = method.requestType.encode(request).finish();
    const answer = await exchange(session.session, `/${service.fullName}/${method.name}`, message, target, life);
    return method.responseType.decode(answer);
  } catch (error) {
    if (signal.aborted) throw new FlannelError("CANCELLED", `${operation}: cancelled`);
    if (error instanceof FlannelError) throw error;
    const reason = timeout.aborted ? `no answer within ${timeoutMs / 1_000} s` : reasonOf(error);
    const message = `${operation}: the store at ${address.url} cannot be reached: ${reason}`;
    throw new FlannelError("STORE_UNAVAILABLE", message, { cause: error, tellsCause: true, retryable: true });
  }
}

/** Resolves when the handshake is done and the server is the right one. */
function connect({ address, tls, checkServer }: CallTarget, signal: AbortSignal): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  const { host, port } = address;
  const socket = connectTls({ ...tls, host, port, minVersion: "TLSv1.3", ALPNProtocols: ["h2"] });
  const onAbort = () => socket.destroy(new Error("aborted"));
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  socket.once("error", reject);
  socket.once("secureConnect", () => {
    try {
      checkServer?.(socket);
      resolve(socket);
    } catch (error) {
      socket.destroy();
      reject(error);
    }
  });
  socket.once("close", () => {
    signal.removeEventListener("abort", onAbort);
    reject(new Error("the connection was closed"));
  });
  return promise;
}

function openSession(socket: TLSSocket, { url }: StoreAddress): Disposable & { readonly session: ClientHttp2Session } {
  const session = connectHttp2(url, { createConnection: () => socket });
  session.on("error", () => undefined);
  return { session, [Symbol.dispose]: () => session.destroy() };
}

function exchange(
  session: ClientHttp2Session,
  path: string,
  message: Uint8Array,
  { operation, address }: CallTarget,
  signal: AbortSignal,
): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const headers = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
  const stream = session.request(headers, { signal });
  const reader = new FrameReader(MAX_ANSWER_BYTES);
  let answer: Buffer | undefined;
  let status: unknown;
  let text: unknown;
  const takeStatus = (fields: Readonly<Record<string, unknown>>) => {
    status = fields["grpc-status"] ?? status;
    text = fields["grpc-message"] ?? text;
  };
  stream.on("response", takeStatus).on("trailers", takeStatus);
  stream.on("data", (piece: Buffer) => {
    try {
      for (const received of reader.push(piece)) answer ??= received;
    } catch (error) {
      stream.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  });
  stream.once("error", reject);
  session.once("error", reject);
  stream.once("close", () => {
    if (status === "0" && answer !== undefined) resolve(answer);
    else if (status === undefined) reject(new Error("the connection was closed before the answer"));
    else reject(fromStatus(Number(status), String(text ?? ""), operation, address.url));
  });
  stream.end(frame(message));
  return promise;
}
