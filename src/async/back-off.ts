// Waiting between attempts: doubling, with jitter, so that many hosts do not come back in step.
import { setTimeout as delay } from "node:timers/promises";

export interface BackOffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** In [0, 1). */
  readonly random?: () => number;
}

/** Delays from half of to the whole of firstMs, 2*firstMs, ... maxMs. */
export class BackOff {
  readonly #options: BackOffOptions;
  #attempt = 0;

  constructor(options: BackOffOptions) {
    this.#options = options;
  }

  reset(): void {
    this.#attempt = 0;
  }

  nextMs(): number {
    const { firstMs, maxMs, random = Math.random } = this.#options;
    const ceilingMs = Math.min(firstMs * 2 ** this.#attempt, maxMs);
    if (ceilingMs < maxMs) this.#attempt++;
    return ceilingMs * (0.5 + random() / 2);
  }

  /** Rejects with an AbortError when `signal` ends the wait. */
  async wait(signal: AbortSignal): Promise<void> {
    await delay(this.nextMs(), undefined, { signal });
  }
}
