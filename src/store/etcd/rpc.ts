// Single gRPC calls on one channel, and the methods we use. No fail-over, no authentication: see etcd-connection.ts.
import type { Client, ClientDuplexStream, Metadata } from "@grpc/grpc-js";
import { cancelled } from "../../async/cancellation.ts";
import {
  AuthDefinition,
  ClusterDefinition,
  KVDefinition,
  LeaseDefinition,
  WatchDefinition,
} from "../../etcd-api/etcd.ts";

export interface RpcMethod<Request, Response> {
  /** `/etcdserverpb.KV/Range`. */
  readonly path: string;
  serialize(request: Request): Buffer;
  deserialize(bytes: Buffer): Response;
}

interface MessageType<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

interface MethodDefinition<Request, Response> {
  readonly name: string;
  readonly requestType: MessageType<Request>;
  readonly responseType: MessageType<Response>;
}

function rpcMethod<Request, Response>(
  service: { readonly fullName: string },
  { name, requestType, responseType }: MethodDefinition<Request, Response>,
): RpcMethod<Request, Response> {
  return {
    path: `/${service.fullName}/${name}`,
    serialize: (request) => {
      const bytes = requestType.encode(request).finish();
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
    deserialize: (bytes) => responseType.decode(bytes),
  };
}

export const methods = {
  range: rpcMethod(KVDefinition, KVDefinition.methods.range),
  put: rpcMethod(KVDefinition, KVDefinition.methods.put),
  deleteRange: rpcMethod(KVDefinition, KVDefinition.methods.deleteRange),
  txn: rpcMethod(KVDefinition, KVDefinition.methods.txn),
  compact: rpcMethod(KVDefinition, KVDefinition.methods.compact),
  leaseGrant: rpcMethod(LeaseDefinition, LeaseDefinition.methods.leaseGrant),
  leaseRevoke: rpcMethod(LeaseDefinition, LeaseDefinition.methods.leaseRevoke),
  leaseKeepAlive: rpcMethod(LeaseDefinition, LeaseDefinition.methods.leaseKeepAlive),
  leaseTimeToLive: rpcMethod(LeaseDefinition, LeaseDefinition.methods.leaseTimeToLive),
  leaseLeases: rpcMethod(LeaseDefinition, LeaseDefinition.methods.leaseLeases),
  memberList: rpcMethod(ClusterDefinition, ClusterDefinition.methods.memberList),
  authenticate: rpcMethod(AuthDefinition, AuthDefinition.methods.authenticate),
  watch: rpcMethod(WatchDefinition, WatchDefinition.methods.watch),
};

export interface CallContext {
  readonly metadata: Metadata;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Rejects with a ServiceError, or `CANCELLED` when `signal` aborts. */
export function callUnary<Request, Response>(
  client: Client,
  method: RpcMethod<Request, Response>,
  request: Request,
  { metadata, timeoutMs, signal }: CallContext,
): Promise<Response> {
  if (signal.aborted) return Promise.reject(cancelled(method.path));
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const options = { deadline: Date.now() + timeoutMs };
  const { path, serialize, deserialize } = method;
  const call = client.makeUnaryRequest(path, serialize, deserialize, request, metadata, options, (error, response) => {
    signal.removeEventListener("abort", onAbort);
    if (response !== undefined && error === null) resolve(response);
    else reject(signal.aborted ? cancelled(path) : (error ?? new Error(`${path}: empty response`)));
  });
  const onAbort = () => call.cancel();
  signal.addEventListener("abort", onAbort, { once: true });
  return promise;
}

/** Sends one request on a stream and resolves with the first answer; the stream is ended then. */
export async function callStreamOnce<Request, Response>(
  client: Client,
  method: RpcMethod<Request, Response>,
  request: Request,
  { metadata, timeoutMs, signal }: CallContext,
): Promise<Response> {
  const stream = openStream(client, method, { metadata, timeoutMs, signal });
  try {
    stream.write(request);
    for await (const response of readStream(stream)) return response;
    throw new Error(`${method.path}: the stream ended without a response`);
  } catch (error) {
    throw signal.aborted ? cancelled(method.path) : error;
  } finally {
    stream.cancel();
  }
}

/**
 * A stream that is cancelled when `signal` aborts or the time is up (Infinity: never). The caller must cancel it.
 */
export function openStream<Request, Response>(
  client: Client,
  { path, serialize, deserialize }: RpcMethod<Request, Response>,
  { metadata, timeoutMs, signal }: CallContext,
): ClientDuplexStream<Request, Response> {
  const options = { deadline: Number.isFinite(timeoutMs) ? Date.now() + timeoutMs : Number.POSITIVE_INFINITY };
  const stream = client.makeBidiStreamRequest(path, serialize, deserialize, metadata, options);
  const onAbort = () => stream.cancel();
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  // grpc-js emits the final status by hand, even after the reader left: without a listener that would end the process.
  stream.on("error", () => undefined);
  stream.once("close", () => signal.removeEventListener("abort", onAbort));
  return stream;
}

/** grpc-js types its streams as readable of any; this is the one place that knows better. */
export function readStream<Request, Response>(stream: ClientDuplexStream<Request, Response>): AsyncIterable<Response> {
  return stream;
}
