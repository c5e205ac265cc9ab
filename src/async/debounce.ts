// Gathers requests that come soon after one another into one run.

export class Debounce implements Disposable {
  readonly #run: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** `run` must not throw. */
  constructor(run: () => void) {
    this.#run = run;
  }

  get isPending(): boolean {
    return this.#timer !== undefined;
  }

  /** A run `delayMs` after the first request; one that is pending already serves. `isIdle`: it keeps no process alive. */
  request(delayMs: number, isIdle = false): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#run();
    }, delayMs);
    if (isIdle) this.#timer.unref();
  }

  /** What was requested is not run. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  [Symbol.dispose](): void {
    this.cancel();
  }
}
