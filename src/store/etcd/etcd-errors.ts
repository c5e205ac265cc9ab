// The one place where gRPC statuses of etcd become FlannelErrors. Secrets never reach a message: requests are not
// quoted, and what the server says is shortened to one line.
import { type ServiceError, status } from "@grpc/grpc-js";
import { FlannelError } from "../../errors.ts";

/** Whether `error` is a status that grpc-js gave us. */
export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
}

/**
 * Classifies `error` of the call `operation` ("read the network config") to `endpoint` (its URL).
 * `hint`: what an operator should look at when the endpoint is not available for that reason.
 * A FlannelError passes unchanged.
 */
export function fromGrpc(
  error: unknown,
  operation: string,
  endpoint: string,
  hint: (reason: string) => string | undefined = () => undefined,
): FlannelError {
  if (error instanceof FlannelError) return error;
  if (!isServiceError(error)) {
    return new FlannelError("INTERNAL", `${operation} at etcd ${endpoint}: unexpected failure`, { cause: error });
  }
  const text = plainReason(error.details);
  const details = {
    ...{ operation, endpoint, grpcStatus: status[error.code] ?? error.code },
    ...(isUnanswered(error) && { isUnanswered: true }),
  };
  const options = { cause: error, tellsCause: true, details };
  if (isCompacted(error)) {
    return new FlannelError("STORE_COMPACTED", `${operation} at etcd ${endpoint}: ${text}`, {
      ...options,
      retryable: true,
    });
  }
  if (isRefused(error)) {
    // Our own store says itself what is missing.
    const advice = text.startsWith("flannel-store:") ? "" : "; check user, password, role and certificate";
    const message = `${operation} at etcd ${endpoint} was refused: ${text}${advice}`;
    return new FlannelError("STORE_UNAUTHORIZED", message, options);
  }
  if (error.code === status.UNIMPLEMENTED) {
    const message = `${operation}: ${endpoint} does not speak the etcd v3 API (${text}); check --etcd-endpoints`;
    return new FlannelError("STORE_UNAVAILABLE", message, options);
  }
  if (unusable.has(error.code)) {
    return new FlannelError("INTERNAL", `${operation} at etcd ${endpoint}: ${text}`, options);
  }
  if (error.details.includes("database space exceeded")) {
    const message = `${operation}: etcd ${endpoint} takes no writes: ${text}; etcd: compact and defragment it, then etcdctl alarm disarm; flannel-store: delete keys, free its disk or raise --quota-mb`;
    return new FlannelError("STORE_UNAVAILABLE", message, { ...options, retryable: true });
  }
  const advice = hint(text);
  const reason = advice === undefined ? text : `${text}; ${advice}`;
  const message = `${operation}: etcd ${endpoint} is not available: ${reason}`;
  return new FlannelError("STORE_UNAVAILABLE", message, { ...options, retryable: true });
}

/** The call itself was wrong; asking again or elsewhere gives the same answer. */
const unusable: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.FAILED_PRECONDITION,
]);

/** The member cannot be reached or cannot answer now; another one may. */
export function isUnreachable(error: unknown): boolean {
  if (!isServiceError(error)) return false;
  return error.code === status.UNAVAILABLE || error.code === status.DEADLINE_EXCEEDED || isTimeOutInside(error);
}

/** No word of etcd's own: the connection failed, or nothing came in time. */
function isUnanswered({ code, details }: ServiceError): boolean {
  return code === status.DEADLINE_EXCEEDED || (code === status.UNAVAILABLE && !details.startsWith("etcdserver:"));
}

/** A member without a leader gives up in its own words, without a status for it. */
function isTimeOutInside({ code, details }: ServiceError): boolean {
  return code === status.UNKNOWN && details.includes("context deadline exceeded");
}

/**
 * No leader may be there: members answer so, or only after more time than we have. Reads of what a member itself holds may
 * still work.
 */
export function mayLackLeader(error: unknown): boolean {
  const cause = error instanceof FlannelError ? error.cause : error;
  if (!isServiceError(cause)) return false;
  if (cause.code === status.DEADLINE_EXCEEDED || isTimeOutInside(cause)) return true;
  return (
    cause.code === status.UNAVAILABLE && /no leader|not leader|request timed out|leader changed/.test(cause.details)
  );
}

/** The revision asked for is no longer kept. */
function isCompacted(error: ServiceError): boolean {
  return error.code === status.OUT_OF_RANGE && error.details.includes("compacted");
}

/** etcd's answer to a wrong user or password has the code of a malformed request. */
function isRefused(error: ServiceError): boolean {
  if (error.code === status.UNAUTHENTICATED || error.code === status.PERMISSION_DENIED) return true;
  return error.code === status.INVALID_ARGUMENT && /authentication failed|user name|auth store/.test(error.details);
}

/** The server does not know our token (any more), or wants one and got none. */
export function isTokenRejected(error: unknown): boolean {
  if (!isServiceError(error)) return false;
  if (error.code === status.UNAUTHENTICATED) return true;
  return error.code === status.INVALID_ARGUMENT && /user name is empty|auth store is old/.test(error.details);
}

/** An answer longer than `grpc.max_receive_message_length`: ask for less. */
export function isTooLarge(error: unknown): boolean {
  return isServiceError(error) && error.code === status.RESOURCE_EXHAUSTED && error.details.includes("larger than max");
}

/** What grpc-js and OpenSSL wrap around the reason tells an operator nothing. */
function plainReason(text: string): string {
  const plain = text
    .replaceAll(/\s+/g, " ")
    .replace(/^No connection established\. Last error: (?:Error: )?/, "")
    .replace(/\.? Resolution note:.*$/, "")
    .replace(/ \(\d{4}-\d\d-\d\dT[\d:.]+Z\)$/, "")
    .replace(/; if the root CA is installed locally.*$/, " (see --etcd-cafile)")
    .replace(/^[0-9A-F]+:error:[0-9A-F]+:[^:]*:[^:]*:([^:]+):.*$/, "$1")
    .replace(/^Deadline exceeded after ([\d.]+)s.*$/, "timed out after $1 s")
    .trim();
  return plain.length > 300 ? `${plain.slice(0, 297)}...` : plain;
}
