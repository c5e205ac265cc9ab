// The one place where answers of the cluster service become FlannelErrors. What the store says is one sentence for a
// person already.
import { type ErrorCode, FlannelError } from "../errors.ts";
import { grpcStatus } from "../store/embedded/rpc-error.ts";

const codes: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [grpcStatus.invalidArgument, "config.invalid"],
  [grpcStatus.notFound, "cluster.notFound"],
  [grpcStatus.alreadyExists, "cluster.conflict"],
  [grpcStatus.permissionDenied, "store.unauthorized"],
  [grpcStatus.unauthenticated, "store.unauthorized"],
]);

const MAX_TEXT = 400;

export function fromStatus(status: number, percentEncoded: string, operation: string, url: string): FlannelError {
  const text = decode(percentEncoded).replaceAll(/\s+/g, " ").slice(0, MAX_TEXT);
  const code = codes.get(status);
  if (code !== undefined) return new FlannelError(code, `${operation}: ${text}`);
  if (status === grpcStatus.unimplemented) {
    const message = `${operation}: ${url} is no flannel-store that runs with --cluster`;
    return new FlannelError("store.unavailable", message);
  }
  return new FlannelError("store.unavailable", `${operation}: the store at ${url} cannot do it now: ${text}`, {
    retryable: true,
  });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
