// Ending a wait when the caller's signal says so.
import { FlannelError } from "../errors.ts";

export function cancelled(operation: string): FlannelError {
  return new FlannelError("CANCELLED", `${operation}: cancelled`);
}

/** Settles like `promise`, or rejects with `CANCELLED` as soon as `signal` aborts; the work itself goes on. */
export async function abandonOnAbort<T>(promise: Promise<T>, operation: string, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw cancelled(operation);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(cancelled(operation));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
