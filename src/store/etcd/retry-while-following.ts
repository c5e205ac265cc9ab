// Reading for a follower who waits as long as it takes.
import { BackOff } from "../../async/back-off.ts";
import { describeError, hasCode, isCancelled } from "../../errors.ts";
import { OutageReasons } from "./outage-reasons.ts";

/** Until it works, or undefined when `signal` aborts. `onFailure` is called with each reason once. */
export async function retryWhileFollowing<T>(
  attempt: (signal: AbortSignal) => Promise<T>,
  signal: AbortSignal,
  onFailure: (reason: string, isRefusal: boolean) => void = () => undefined,
): Promise<T | undefined> {
  const backOff = new BackOff({ firstMs: 100, maxMs: 5_000 });
  const reasons = new OutageReasons();
  while (!signal.aborted) {
    try {
      return await attempt(signal);
    } catch (error) {
      if (signal.aborted || isCancelled(error)) return undefined;
      const reason = describeError(error);
      if (reasons.isNew(reason)) onFailure(reason, hasCode(error, "STORE_UNAUTHORIZED"));
      await backOff.wait(signal).catch(() => undefined);
    }
  }
  return undefined;
}
