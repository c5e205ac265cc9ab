// When to go on without the store: after it had some time to answer, and again for as long as that fails.
import { describeError } from "../errors.ts";
import type { Logger } from "../telemetry/logger.ts";

/** How long the store may take before we go on with what we remember; also how long a failure rests. */
const WARM_START_AFTER_MS = 1_500;

export class WarmStart implements Disposable {
  readonly #start: () => Promise<void>;
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;
  #said = "";

  /** `start` rejects when it did not work out and may later: an interface that is not there yet. */
  constructor(start: () => Promise<void>, logger: Logger, afterMs = WARM_START_AFTER_MS) {
    this.#start = start;
    this.#logger = logger;
    this.#arm(afterMs);
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #arm(afterMs: number): void {
    this.#timer = setTimeout(() => void this.#try(afterMs), afterMs);
  }

  async #try(afterMs: number): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      if (this.#isOver) return;
      const text = describeError(error);
      if (text !== this.#said) {
        this.#logger.warn("warm-start.failed", "cannot go on with the remembered state yet", { error: text });
      }
      this.#said = text;
      this.#arm(afterMs);
    }
  }
}
