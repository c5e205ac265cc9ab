// Looks about twice a second whether something is still there, where nobody tells of its loss: associations in the kernel, which
// charon believes in for up to an hour after they were deleted; connections in charon, which any program may unload.

const INTERVAL_MS = 400;
/** A look takes two percent of a processor at most, as long as the longest pause allows. */
const SHARE = 50;
/** The processor time is that of the whole process: busy work of other kinds must not put off a look for long. */
const LONGEST_PAUSE_MS = 2_000;

export interface LossWatchOptions {
  /** One look. What cannot be read is not gone: a rejection counts as false. */
  readonly isLost: () => Promise<boolean>;
  /** Called when a look found a loss, by knowledge that may be old: look again before you act. */
  readonly onLoss: () => void;
}

export class LossWatch implements Disposable {
  readonly #options: LossWatchOptions;
  #timer: NodeJS.Timeout;
  #isEnded = false;

  constructor(options: LossWatchOptions) {
    this.#options = options;
    this.#timer = setTimeout(() => this.#look(), INTERVAL_MS);
  }

  [Symbol.dispose](): void {
    this.#isEnded = true;
    clearTimeout(this.#timer);
  }

  #look(): void {
    const start = process.cpuUsage();
    this.#options
      .isLost()
      .then((isLost) => {
        if (isLost && !this.#isEnded) this.#options.onLoss();
      })
      .catch(() => undefined)
      .finally(() => this.#next(process.cpuUsage(start)));
  }

  /** By processor time: on a busy host the clock goes on while others run. */
  #next({ user, system }: NodeJS.CpuUsage): void {
    if (this.#isEnded) return;
    const tookMs = (user + system) / 1_000;
    const pauseMs = Math.min(Math.max(INTERVAL_MS, tookMs * SHARE), LONGEST_PAUSE_MS);
    this.#timer = setTimeout(() => this.#look(), pauseMs);
  }
}
