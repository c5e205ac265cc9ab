// Turns an errno into the product's error: the one place where kernel errors are classified.
import { constants } from "node:os";
import { type ErrorCode, FlannelError } from "../errors.ts";
import { strerror } from "./libc.ts";

/** errno numbers by name (asm-generic/errno.h). */
export const errnos = constants.errno;

// Two names for one number: the later one wins, so the name the kernel's documentation uses comes last.
const names = new Map<number, string>([
  ...Object.entries(errnos).map(([name, value]) => [value, name] as const),
  [errnos.EAGAIN, "EAGAIN"],
  [errnos.EOPNOTSUPP, "EOPNOTSUPP"],
  [93, "EPROTONOSUPPORT"],
]);

const codes = new Map<number, ErrorCode>([
  [errnos.EPERM, "KERNEL_DENIED"],
  [errnos.EACCES, "KERNEL_DENIED"],
  [errnos.EEXIST, "KERNEL_EXISTS"],
  [errnos.ENOENT, "KERNEL_NOT_FOUND"],
  [errnos.ESRCH, "KERNEL_NOT_FOUND"],
  [errnos.ENODEV, "KERNEL_NOT_FOUND"],
  [errnos.ENXIO, "KERNEL_NOT_FOUND"],
  [errnos.EBUSY, "KERNEL_BUSY"],
  [errnos.EOPNOTSUPP, "KERNEL_UNSUPPORTED"],
  [errnos.EAFNOSUPPORT, "KERNEL_UNSUPPORTED"],
  [errnos.EPROTONOSUPPORT, "KERNEL_UNSUPPORTED"],
]);

/** What may pass by itself: full buffers, a link or route that is not up yet. */
const retryable: ReadonlySet<number> = new Set([
  errnos.EBUSY,
  errnos.ENOBUFS,
  errnos.ENOMEM,
  errnos.EINTR,
  errnos.EAGAIN,
  errnos.ENETDOWN,
  errnos.ENETUNREACH,
  errnos.EHOSTUNREACH,
]);

/** `EPERM` and the like; `errno 4711` for a number without a name. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

export interface KernelErrorContext {
  /** The kernel's own words (netlink extended acknowledgement). */
  readonly kernelText?: string | undefined;
}

/**
 * `operation` says what was attempted ("add route 10.5.3.0/24 via …"); `errno` is positive.
 * `details` of the result: operation, errno (name), kernelText where the kernel gave one.
 */
export function fromErrno(operation: string, errno: number, context: KernelErrorContext = {}): FlannelError {
  const name = errnoName(errno);
  const words = context.kernelText ?? strerror(errno);
  const hint = codes.get(errno) === "KERNEL_DENIED" ? "; run as root or with CAP_NET_ADMIN" : "";
  return new FlannelError(codes.get(errno) ?? "KERNEL_REJECTED", `${operation}: ${name} (${words})${hint}`, {
    retryable: retryable.has(errno),
    details: {
      operation,
      errno: name,
      ...(context.kernelText === undefined ? {} : { kernelText: context.kernelText }),
    },
  });
}

/** True when `error` came from `fromErrno` with this errno name. */
export function hasErrno(error: unknown, name: string): error is FlannelError {
  return error instanceof FlannelError && error.details["errno"] === name;
}
