// A limit of so many events in any second. No timers: whoever asks says the time, of one monotonic clock, in ms.

const SECOND_MS = 1_000;

export class RateLimit {
  readonly #perSecond: number;
  /** Of the last ones, as a ring. */
  readonly #timesMs: number[] = [];
  #oldest = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  /** From `nowMs` on, when the next one may happen. */
  earliestMs(nowMs: number): number {
    const oldestMs = this.#timesMs[this.#oldest];
    const isFull = this.#timesMs.length === this.#perSecond;
    return isFull && oldestMs !== undefined ? Math.max(nowMs, oldestMs + SECOND_MS) : nowMs;
  }

  /** Counts one that happens at `atMs`; it may lie ahead. */
  take(atMs: number): void {
    if (this.#timesMs.length < this.#perSecond) {
      this.#timesMs.push(atMs);
      return;
    }
    this.#timesMs[this.#oldest] = atMs;
    this.#oldest = (this.#oldest + 1) % this.#perSecond;
  }
}
