// The one error class of the product. Errors are classified once, at the boundary where they enter
// (errno, gRPC status, exit code); callers ask the predicates below and never parse messages.

/** Closed list: a new code needs a reason, since logs, exit codes and tests hang on it. */
export type ErrorCode =
  | "config.invalid"
  | "config.missing"
  | "config.conflict"
  | "lease.conflict"
  | "lease.lost"
  | "pool.exhausted"
  | "store.unavailable"
  | "store.unauthorized"
  | "store.compacted"
  | "kernel.denied"
  | "kernel.exists"
  | "kernel.notFound"
  | "kernel.busy"
  | "kernel.unsupported"
  | "kernel.rejected"
  | "interface.notFound"
  | "file.failed"
  | "tool.missing"
  | "firewall.rejected"
  | "service.failed"
  | "cluster.conflict"
  | "cluster.notFound"
  | "agent.running"
  | "agent.absent"
  | "usage"
  | "cancelled"
  | "internal";

export interface FlannelErrorOptions {
  /** The error that caused this one. */
  readonly cause?: unknown;
  /** Whether the same call may succeed later without anybody changing anything. Default false. */
  readonly retryable?: boolean;
  /** The message says already what `cause` says: `describeError` leaves it out. */
  readonly tellsCause?: boolean;
  /** Structured facts for the log line; never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** `message` is for a person: what was attempted, what went wrong, what to do next. */
export class FlannelError extends Error {
  override readonly name: string = "FlannelError";
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly tellsCause: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: FlannelErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.tellsCause = options.tellsCause ?? false;
    this.details = options.details ?? {};
  }
}

/** True when `error` is ours and carries one of `codes`. */
export function hasCode(error: unknown, ...codes: readonly ErrorCode[]): error is FlannelError {
  return error instanceof FlannelError && codes.includes(error.code);
}

/** True for an abort by signal, ours or Node's. */
export function isCancelled(error: unknown): boolean {
  return hasCode(error, "cancelled") || (error instanceof Error && error.name === "AbortError");
}

/** Text of any thrown value, with its chain of causes, on one line. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  while (current !== undefined && current !== null && parts.length < 5) {
    const text = current instanceof Error ? current.message : String(current);
    if (text !== "" && !parts.some((part) => part.includes(text))) parts.push(text);
    const isTold = current instanceof FlannelError && current.tellsCause;
    current = current instanceof Error && !isTold ? current.cause : undefined;
  }
  return parts.join(": ").replaceAll(/\s*\n\s*/g, " ");
}
