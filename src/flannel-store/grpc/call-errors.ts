// The one place where answers of the cluster service become FlannelErrors. What the store says is one sentence for a
// person already.
import { describeError, type ErrorCode, FlannelError } from "../../errors.ts";
import { grpcStatus } from "./rpc-error.ts";

const codes: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [grpcStatus.invalidArgument, "CONFIG_INVALID"],
  // The store answers, another host does not: no other endpoint of the store knows better.
  [grpcStatus.failedPrecondition, "AGENT_SILENT"],
  [grpcStatus.notFound, "CLUSTER_NOT_FOUND"],
  [grpcStatus.alreadyExists, "CLUSTER_CONFLICT"],
  [grpcStatus.permissionDenied, "STORE_UNAUTHORIZED"],
  [grpcStatus.unauthenticated, "STORE_UNAUTHORIZED"],
]);

const MAX_TEXT = 400;

export function fromStatus(status: number, percentEncoded: string, operation: string, url: string): FlannelError {
  const text = decode(percentEncoded).replaceAll(/\s+/g, " ").slice(0, MAX_TEXT);
  const code = codes.get(status);
  if (code !== undefined) return new FlannelError(code, `${operation}: ${text}`);
  if (status === grpcStatus.unimplemented) {
    const message = `${operation}: ${url} is not a flannel-store that runs with --cluster`;
    return new FlannelError("STORE_UNAVAILABLE", message);
  }
  return new FlannelError("STORE_UNAVAILABLE", `${operation}: the store at ${url} cannot do this now: ${text}`, {
    retryable: true,
  });
}

const foreign = "its certificate is not from the CA of this cluster";

/** What OpenSSL and Node say in their own words. */
const plainReasons: ReadonlyMap<unknown, string> = new Map([
  ["ERR_SSL_WRONG_VERSION_NUMBER", "the server there does not speak TLS"],
  ["ERR_SSL_PACKET_LENGTH_TOO_LONG", "the server there does not speak TLS"],
  ["CERT_HAS_EXPIRED", "its certificate has expired"],
  ["CERT_NOT_YET_VALID", "its certificate is not valid yet: check the clock of this host"],
  ["SELF_SIGNED_CERT_IN_CHAIN", foreign],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", foreign],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", foreign],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", foreign],
  ["CERT_SIGNATURE_FAILURE", foreign],
]);

/** Why there was no connection or no answer. */
export function reasonOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return plainReasons.get(code) ?? describeError(error);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
