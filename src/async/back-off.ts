// Growing pauses between retries: doubled after each failure up to a maximum, with jitter, so that many hosts do not
// come back in step.
import { setTimeout as delay } from "node:timers/promises";
import { type GrowingPause, pauseAfterMs } from "./growing-pause.ts";

export interface BackOffOptions extends GrowingPause {
  /** The share of a pause that chance takes off at most, 0 to 1; default 0.5. */
  readonly jitter?: number;
  /** In [0, 1). */
  readonly random?: () => number;
}

/** Counts the failures in a row itself. */
export class BackOff {
  readonly #options: BackOffOptions;
  #failures = 0;

  constructor(options: BackOffOptions) {
    this.#options = options;
  }

  /** Something succeeded: the next pause is the first again. */
  reset(): void {
    this.#failures = 0;
  }

  /** Something failed: how long to wait before the retry. */
  nextMs(): number {
    const { jitter = 0.5, random = Math.random } = this.#options;
    return pauseAfterMs(++this.#failures, this.#options) * (1 - jitter * (1 - random()));
  }

  /** Rejects with an AbortError when `signal` ends the wait. */
  async wait(signal: AbortSignal): Promise<void> {
    await delay(this.nextMs(), undefined, { signal });
  }
}
