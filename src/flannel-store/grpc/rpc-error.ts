// Refusals as etcd words them: gRPC status code and message, which clients compare literally.

/** The gRPC status codes that we answer with. */
export const grpcStatus = {
  ok: 0,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

export type GrpcStatus = (typeof grpcStatus)[keyof typeof grpcStatus];

/** Ends a call with this status. The message goes to the client. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly status: GrpcStatus;

  constructor(status: GrpcStatus, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

function refusal(status: GrpcStatus, message: string): () => RpcError {
  return () => new RpcError(status, `etcdserver: ${message}`);
}

const { invalidArgument, notFound, outOfRange, resourceExhausted, failedPrecondition } = grpcStatus;

export const refusals = {
  emptyKey: refusal(invalidArgument, "key is not provided"),
  keyNotFound: refusal(invalidArgument, "key not found"),
  valueProvided: refusal(invalidArgument, "value is provided"),
  leaseProvided: refusal(invalidArgument, "lease is provided"),
  tooManyOperations: refusal(invalidArgument, "too many operations in txn request"),
  /** In the words of etcd 3.5: 3.4 ends with a stack trace. */
  invalidSortOption: refusal(invalidArgument, "invalid sort option"),
  duplicateKey: refusal(invalidArgument, "duplicate key given in txn request"),
  requestTooLarge: refusal(invalidArgument, "request is too large"),
  compacted: refusal(outOfRange, "mvcc: required revision has been compacted"),
  futureRevision: refusal(outOfRange, "mvcc: required revision is a future revision"),
  noSpace: refusal(resourceExhausted, "mvcc: database space exceeded"),
  tooManyRequests: refusal(resourceExhausted, "too many requests"),
  leaseNotFound: refusal(notFound, "requested lease not found"),
  leaseExists: refusal(failedPrecondition, "lease already exists"),
  leaseTtlTooLarge: refusal(outOfRange, "too large lease TTL"),
  userEmpty: refusal(invalidArgument, "user name is empty"),
  authenticationFailed: refusal(invalidArgument, "authentication failed, invalid user ID or password"),
  authenticationNotEnabled: refusal(failedPrecondition, "authentication is not enabled"),
  invalidToken: refusal(grpcStatus.unauthenticated, "invalid auth token"),
  permissionDenied: refusal(grpcStatus.permissionDenied, "permission denied"),
  stopped: refusal(grpcStatus.unavailable, "server stopped"),
  requestTooSlow: () =>
    new RpcError(grpcStatus.deadlineExceeded, "flannel-store: the request was not complete in time: send it faster"),
};

/** As gRPC wants its messages: printable ASCII, the rest and "%" in hex. */
export function encodeStatusMessage(text: string): string {
  return [...Buffer.from(text)]
    .map((byte) => (byte >= 0x20 && byte < 0x7f && byte !== 0x25 ? String.fromCharCode(byte) : hex(byte)))
    .join("");
}

function hex(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}
