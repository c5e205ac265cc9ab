// Turns typed handlers into methods of the gRPC server.
import { type CallContext, type GrpcCall, type GrpcMethod, MAX_REQUEST_BYTES } from "./grpc-call.ts";
import { grpcStatus, RpcError, refusals } from "./rpc-error.ts";

interface MethodDefinition<Request, Response> {
  readonly name: string;
  readonly requestType: { decode(bytes: Uint8Array): Request };
  readonly responseType: { encode(message: Response): { finish(): Uint8Array } };
}

export type MethodEntry = readonly [path: string, method: GrpcMethod];

/** One request of at most `maxBytes`, one answer. What the handler throws becomes the status. */
export function unary<Request, Response>(
  service: { readonly fullName: string },
  definition: MethodDefinition<Request, Response>,
  handle: (request: Request, context: CallContext) => Response | Promise<Response>,
  maxBytes?: number,
): MethodEntry {
  const { responseType } = definition;
  return answering(
    service,
    definition,
    async (request, call, context) => {
      call.end(responseType.encode(await handle(request, context)).finish());
    },
    maxBytes,
  );
}

/** As `unary`, with a handler that ends the call itself. */
export function answering<Request>(
  service: { readonly fullName: string },
  { name, requestType }: Pick<MethodDefinition<Request, unknown>, "name" | "requestType">,
  handle: (request: Request, call: GrpcCall, context: CallContext) => Promise<void>,
  maxBytes?: number,
): MethodEntry {
  const start = (call: GrpcCall, context: CallContext) => {
    let isAnswered = false;
    const answer = async (message: Buffer) => {
      if (isAnswered) return;
      isAnswered = true;
      try {
        if (message.length > MAX_REQUEST_BYTES) throw refusals.requestTooLarge();
        await handle(decode(requestType, message), call, context);
      } catch (error) {
        call.fail(error);
      }
    };
    call.read(
      (message) => void answer(message),
      () => undefined,
      { isUnary: true, ...(maxBytes !== undefined && { maxBytes }) },
    );
  };
  return [`/${service.fullName}/${name}`, { start }];
}

/** Both sides send when they like. `open` returns what to do with each request. */
export function bidirectional<Request, Response>(
  service: { readonly fullName: string },
  { name, requestType }: MethodDefinition<Request, Response>,
  open: (call: GrpcCall, context: CallContext) => { onRequest(request: Request): void; onEnd(): void },
): MethodEntry {
  const start = (call: GrpcCall, context: CallContext) => {
    const { onRequest, onEnd } = open(call, context);
    call.read((message) => onRequest(decode(requestType, message)), onEnd);
    call.onDrain(() => call.resumeReading());
  };
  return [`/${service.fullName}/${name}`, { start }];
}

/** The client's fault: no error of the store. */
function decode<T>(type: { decode(bytes: Uint8Array): T }, message: Uint8Array): T {
  try {
    return type.decode(message);
  } catch {
    throw new RpcError(grpcStatus.internal, "grpc: the request is not a message of this method");
  }
}
