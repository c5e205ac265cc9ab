// How often the API server is asked: at most five times a second on average, whatever goes wrong, with room for the
// pages of a long list.
import { setTimeout as delay } from "node:timers/promises";

const PER_SECOND = 5;
const BURST = 40;

export class RequestBudget {
  #tokens = BURST;
  #filledAtMs = performance.now();

  /** Resolves when the next request may go out. Rejects with an AbortError when `signal` ends the wait. */
  async take(signal: AbortSignal): Promise<void> {
    const nowMs = performance.now();
    this.#tokens = Math.min(BURST, this.#tokens + ((nowMs - this.#filledAtMs) / 1_000) * PER_SECOND);
    this.#filledAtMs = nowMs;
    this.#tokens--;
    if (this.#tokens < 0) await delay((-this.#tokens / PER_SECOND) * 1_000, undefined, { signal });
    else signal.throwIfAborted();
  }
}
