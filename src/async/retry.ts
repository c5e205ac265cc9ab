// Retrying for as long as it makes sense, without filling the log.
import { describeError, FlannelError } from "../errors.ts";
import type { RetryEvent } from "../telemetry/events.ts";
import type { Logger } from "../telemetry/logger.ts";
import { BackOff } from "./back-off.ts";
import { pauseAfterMs } from "./growing-pause.ts";

export interface RetryOptions {
  /** What is attempted, for the log: `read the network configuration`. */
  readonly what: string;
  /** Of the log line of a failure. */
  readonly event: RetryEvent;
  /** Whether this failure is worth a retry; by default what the error says of itself. */
  readonly shouldRetry?: (error: FlannelError) => boolean;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Default 200. */
  readonly firstDelayMs?: number;
  /** Default 5,000. */
  readonly maxDelayMs?: number;
  /** What stands in the way, after each failure; undefined when it is done. */
  readonly onWaiting?: (reason: string | undefined) => void;
}

const LOG_AGAIN = { firstMs: 60_000, maxMs: 1_800_000 } as const;

/** Logs a failure once, again when it becomes another one, and else after 1, 2, 4 … 30 minutes. */
export async function retryUntilDone<T>(options: RetryOptions, attempt: () => Promise<T>): Promise<T> {
  const { signal, firstDelayMs = 200, maxDelayMs = 5_000 } = options;
  const backOff = new BackOff({ firstMs: firstDelayMs, maxMs: maxDelayMs });
  const log = new RetryLog(options);
  for (;;) {
    signal.throwIfAborted();
    try {
      const result = await attempt();
      log.succeeded();
      return result;
    } catch (error) {
      signal.throwIfAborted();
      if (!isWorthRetrying(error, options)) throw error;
      log.failed(error);
      await backOff.wait(signal);
    }
  }
}

function isWorthRetrying(error: unknown, options: RetryOptions): error is FlannelError {
  if (!(error instanceof FlannelError)) return false;
  return options.shouldRetry?.(error) ?? error.retryable;
}

class RetryLog {
  readonly #options: RetryOptions;
  #tries = 0;
  #code = "";
  /** Lines about the failure with this code. */
  #lines = 0;
  #logAgainAtMs = 0;

  constructor(options: RetryOptions) {
    this.#options = options;
  }

  succeeded(): void {
    const { logger, event, what, onWaiting } = this.#options;
    onWaiting?.(undefined);
    if (this.#tries > 0) logger.info(`${event}.recovered`, `succeeded after a retry: ${what}`, { tries: this.#tries });
  }

  failed(error: FlannelError): void {
    const { logger, event, what, onWaiting } = this.#options;
    this.#tries++;
    onWaiting?.(describeError(error));
    const nowMs = performance.now();
    const isOther = error.code !== this.#code;
    if (!isOther && nowMs < this.#logAgainAtMs) return;
    this.#code = error.code;
    this.#lines = isOther ? 1 : this.#lines + 1;
    this.#logAgainAtMs = nowMs + pauseAfterMs(this.#lines, LOG_AGAIN);
    const facts = { error: describeError(error), code: error.code, tries: this.#tries };
    logger.warn(event, `cannot ${what}; retrying`, facts);
  }
}
