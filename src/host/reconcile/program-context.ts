// What those who program the kernel share: their tools, and how they judge its errors.
import { describeError, FlannelError, hasCode } from "../../errors.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import { hasErrno } from "../../sys/errno.ts";
import type { AnySlot } from "./host-table.ts";
import type { LinkDirectory } from "./observed-state.ts";

export interface ProgramFailure {
  readonly slot: AnySlot;
  readonly error: FlannelError;
}

export interface ProgrammerContext {
  readonly netlink: Rtnetlink;
  readonly links: LinkDirectory;
  readonly signal: AbortSignal;
}

/** True for the kernel's ways of saying that what was to be deleted is not there. */
export function isAlreadyGone(error: FlannelError): boolean {
  return hasCode(error, "kernel.notFound") || hasErrno(error, "EADDRNOTAVAIL");
}

export function missingDevice(name: string | undefined): FlannelError {
  return new FlannelError("kernel.notFound", `device ${name ?? "?"} does not exist`, { retryable: true });
}

export function asFlannelError(error: unknown): FlannelError {
  return error instanceof FlannelError ? error : new FlannelError("internal", describeError(error), { cause: error });
}
