// Trying again for as long as it makes sense, without filling the log.
import { setTimeout as delay } from "node:timers/promises";
import { describeError, FlannelError } from "../errors.ts";
import type { RetryEvent } from "../telemetry/events.ts";
import type { Logger } from "../telemetry/logger.ts";

export interface RetryOptions {
  /** What is attempted, for the log: `read the network configuration`. */
  readonly what: string;
  /** Of the log line of a failure. */
  readonly event: RetryEvent;
  /** Whether this failure is worth another try; by default what the error says of itself. */
  readonly shouldRetry?: (error: FlannelError) => boolean;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly firstDelayMs?: number;
  readonly maxDelayMs?: number;
  /** What stands in the way, after each failure; undefined when it is done. */
  readonly onWaiting?: (reason: string | undefined) => void;
}

const SAY_AGAIN_FIRST_MS = 60_000;
const SAY_AGAIN_MAX_MS = 1_800_000;

/** Says a failure once, again when it becomes another one, and else after 1, 2, 4 … 30 minutes. */
export async function retryUntilDone<T>(options: RetryOptions, attempt: () => Promise<T>): Promise<T> {
  const { logger, signal, what, event } = options;
  let waitMs = options.firstDelayMs ?? 200;
  let said = { code: "", untilMs: 0, intervalMs: SAY_AGAIN_FIRST_MS };
  let tries = 0;
  for (;;) {
    signal.throwIfAborted();
    try {
      const result = await attempt();
      options.onWaiting?.(undefined);
      if (said.code !== "") logger.info(`${event}.recovered`, `succeeded after a retry: ${what}`, { tries });
      return result;
    } catch (error) {
      signal.throwIfAborted();
      if (!isWorthRetrying(error, options)) throw error;
      tries++;
      options.onWaiting?.(describeError(error));
      const now = performance.now();
      if (error.code !== said.code || now >= said.untilMs) {
        const again = error.code === said.code;
        const intervalMs = again ? Math.min(said.intervalMs * 2, SAY_AGAIN_MAX_MS) : SAY_AGAIN_FIRST_MS;
        said = { code: error.code, untilMs: now + intervalMs, intervalMs };
        logger.warn(event, `cannot ${what}; retrying`, { error: describeError(error), code: error.code, tries });
      }
      await delay(waitMs * (0.75 + Math.random() / 2), undefined, { signal });
      waitMs = Math.min(waitMs * 2, options.maxDelayMs ?? 5_000);
    }
  }
}

function isWorthRetrying(error: unknown, options: RetryOptions): error is FlannelError {
  if (!(error instanceof FlannelError)) return false;
  return options.shouldRetry?.(error) ?? error.retryable;
}
