// Runs a task for the latest request only: requests that come while it runs are served together by one more run.

/** `delayed`: a run begins when the timer fires. */
type Phase =
  | { readonly name: "idle" }
  | { readonly name: "delayed"; readonly timer: NodeJS.Timeout }
  | { readonly name: "running"; readonly ended: Promise<void> };

const idle: Phase = { name: "idle" };

export class LatestOnly implements AsyncDisposable {
  readonly #task: () => Promise<void>;
  readonly #delayMs: () => number;
  #phase: Phase = idle;
  /** Since the last run began, whatever the phase: also while it is disposed of. */
  #isRequested = false;
  #isDisposed = false;

  /** `task` handles its own errors. A run begins `delayMs` after the first request. */
  constructor(task: () => Promise<void>, delayMs: () => number = () => 0) {
    this.#task = task;
    this.#delayMs = delayMs;
  }

  request(): void {
    this.#isRequested = true;
    if (this.#isDisposed || this.#phase.name !== "idle") return;
    const delayMs = this.#delayMs();
    if (delayMs === 0) this.#start();
    else this.#phase = { name: "delayed", timer: setTimeout(() => this.#start(), delayMs) };
  }

  /** Resolves when a task without delay has served all that was requested until now. */
  async idle(): Promise<void> {
    while (this.#phase.name === "running") await this.#phase.ended;
  }

  /** Serves what is still requested, then ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    if (this.#phase.name === "delayed") clearTimeout(this.#phase.timer);
    if (this.#phase.name === "running") await this.#phase.ended;
    if (this.#isRequested) await this.#task();
  }

  #start(): void {
    this.#isRequested = false;
    const ended = this.#task().finally(() => {
      this.#phase = idle;
      if (this.#isRequested && !this.#isDisposed) this.request();
    });
    this.#phase = { name: "running", ended };
  }
}
