// Runs a task for the latest request only: requests that come while it runs are served together by one more run.

export class LatestOnly implements AsyncDisposable {
  readonly #task: () => Promise<void>;
  readonly #delayMs: () => number;
  #isRequested = false;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #isDisposed = false;

  /** `task` handles its own errors. A run begins `delayMs` after the first request. */
  constructor(task: () => Promise<void>, delayMs: () => number = () => 0) {
    this.#task = task;
    this.#delayMs = delayMs;
  }

  request(): void {
    this.#isRequested = true;
    if (this.#isDisposed || this.#running !== undefined || this.#timer !== undefined) return;
    const delayMs = this.#delayMs();
    if (delayMs === 0) this.#start();
    else this.#timer = setTimeout(() => this.#start(), delayMs);
  }

  /** Resolves when a task without delay has served all that was requested until now. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** Serves what is still requested, then ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    clearTimeout(this.#timer);
    await this.#running;
    if (this.#isRequested) await this.#task();
  }

  #start(): void {
    this.#timer = undefined;
    this.#isRequested = false;
    this.#running = this.#task().finally(() => {
      this.#running = undefined;
      if (this.#isRequested && !this.#isDisposed) this.request();
    });
  }
}
