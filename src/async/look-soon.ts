// Looks at something again soon after it changed. A look under way and at most one after it: news that comes faster than a
// look takes is gathered, never queued.

export class LookSoon implements AsyncDisposable {
  readonly #look: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  /** Of the look after the one under way; undefined when none was asked for. */
  #nextDelayMs: number | undefined;
  #isClosed = false;

  /** `look` must not reject; it may ask for the next one. */
  constructor(look: () => Promise<void>) {
    this.#look = look;
  }

  /** A look that begins after this call, `delayMs` from now or from the end of the look under way; a look that waits already serves. */
  request(delayMs: number): void {
    if (this.#isClosed || this.#timer !== undefined) return;
    if (this.#running !== undefined) this.#nextDelayMs = Math.min(this.#nextDelayMs ?? delayMs, delayMs);
    else this.#timer = setTimeout(() => this.#begin(), delayMs);
  }

  /** Waits for the look under way; none begins any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #begin(): void {
    this.#timer = undefined;
    this.#running = this.#look().finally(() => {
      this.#running = undefined;
      const delayMs = this.#nextDelayMs;
      this.#nextDelayMs = undefined;
      if (delayMs !== undefined) this.request(delayMs);
    });
  }
}
