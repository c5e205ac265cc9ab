// The loop of everything that keeps something as it is desired: passes one after another, one more for all that is asked
// for meanwhile, a pass soon after a notification, after a failure, and now and then. What a pass does is its owner's.

import { Debounce } from "./debounce.ts";

export interface PassEnd<Result> {
  /** For all `passNow` that were called before the pass began. */
  readonly result: Result;
  /** When the pass is to be repeated; undefined: when it is asked for. */
  readonly repeatInMs?: number | undefined;
}

export interface ReconcileLoopOptions<Result, Event> {
  /**
   * One pass. One that rejects has a fault: the process warns of it (`warning`, which `logWarnings` logs), and the pass is repeated after
   * `FAULT_REPEAT_MS`; who waits for a result waits on. It is called as well when the loop was closed meanwhile, so that who waits gets a result:
   * see `isStopped`. `settle` hands out the result before the end of the pass.
   */
  readonly pass: (settle: (result: Result) => void) => Promise<PassEnd<Result>>;
  /** Judges what `receive` was given, at once or after the pass that held it back. Must not throw. */
  readonly onEvent?: (event: Event) => void;
  /** Of `passSoon`: gathers what belongs together. */
  readonly debounceMs: number;
  /** The first pass waits for it; never rejects. */
  readonly after?: Promise<void>;
  /** Closes the loop. */
  readonly signal?: AbortSignal;
}

/** One fault must not end what keeps the host as it is desired, nor take a processor. */
export const FAULT_REPEAT_MS = 1_000;

/** `unstarted`: nothing is desired yet. `queued`: a pass waits for its turn, perhaps behind one that runs. */
type LoopState = "unstarted" | "idle" | "queued" | "closed";

export class ReconcileLoop<Result = void, Event = never> implements AsyncDisposable {
  readonly #options: ReconcileLoopOptions<Result, Event>;
  #state: LoopState = "unstarted";
  /** Never rejects. */
  #lane: Promise<unknown>;
  #waiters: PromiseWithResolvers<Result>[] = [];
  #heldBack: Event[] | undefined;
  readonly #debounce = new Debounce(() => this.#queue());
  #repeat: NodeJS.Timeout | undefined;
  #audit: NodeJS.Timeout | undefined;

  constructor(options: ReconcileLoopOptions<Result, Event>) {
    this.#options = options;
    this.#lane = options.after ?? Promise.resolve();
  }

  /** Nothing is to be changed any more. */
  get isStopped(): boolean {
    return this.#state === "closed" || this.#options.signal?.aborted === true;
  }

  /** A pass was asked for by `passSoon` and has not been queued yet. */
  get isPassPending(): boolean {
    return this.#debounce.isPending;
  }

  /** Something is desired: until then nothing causes a pass. `queuePass` and `passNow` do the same. */
  start(): void {
    if (this.#state === "unstarted") this.#state = "idle";
  }

  /** A pass that begins after this call; several calls share one. */
  queuePass(): void {
    this.start();
    this.#queue();
  }

  /** The same, with the result of that pass. Rejects as the pass does when the loop is stopped and no other pass follows. */
  passNow(): Promise<Result> {
    const waiter = Promise.withResolvers<Result>();
    this.#waiters.push(waiter);
    this.queuePass();
    return waiter.promise;
  }

  /** A pass after the debounce, or after `delayMs`; one that is pending already serves. */
  passSoon(delayMs: number = this.#options.debounceMs): void {
    if (!this.isStopped) this.#debounce.request(delayMs);
  }

  /** Calls `onDue` every `intervalMs`; 0: never. */
  startAudits(intervalMs: number, onDue: () => void): void {
    if (intervalMs <= 0 || this.isStopped) return;
    this.#audit = setInterval(onDue, intervalMs).unref();
  }

  /** Between passes, in the order of the calls; also when the loop is closed. */
  inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#lane.then(task);
    this.#lane = result.catch(() => undefined);
    return result;
  }

  /** Resolves when all passes that were queued until now are done. Never rejects. */
  async settled(): Promise<void> {
    await this.#lane;
  }

  /** For `onEvent`: now, or at the end of the task that holds events back. Dropped while nothing is desired. */
  receive(event: Event): void {
    if (this.isStopped || this.#state === "unstarted") return;
    if (this.#heldBack === undefined) this.#options.onEvent?.(event);
    else this.#heldBack.push(event);
  }

  /** What comes during `task` is judged by what it found: our own writes among them. */
  async holdBackDuring<T>(task: () => Promise<T>): Promise<T> {
    const events: Event[] = [];
    this.#heldBack = events;
    try {
      return await task();
    } finally {
      this.#heldBack = undefined;
      for (const event of events) this.receive(event);
    }
  }

  /** No further pass begins by itself. */
  close(): void {
    const isQueued = this.#state === "queued";
    this.#state = "closed";
    this.#debounce.cancel();
    clearTimeout(this.#repeat);
    clearInterval(this.#audit);
    // Those of a pass that failed, and whose repetition does not come any more.
    if (this.#waiters.length > 0 && !isQueued) this.#queue();
  }

  /** Waits for the pass under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#lane;
  }

  #queue(): void {
    if (this.#state !== "idle" && this.#state !== "closed") return;
    if (this.#state === "idle") this.#state = "queued";
    this.#lane = this.#lane.then(() => this.#run());
  }

  async #run(): Promise<void> {
    if (this.#state === "queued") this.#state = "idle";
    const waiters = this.#waiters;
    this.#waiters = [];
    const settle = (result: Result): void => {
      for (const { resolve } of waiters.splice(0)) resolve(result);
    };
    try {
      const { result, repeatInMs } = await this.#options.pass(settle);
      this.#repeatIn(repeatInMs);
      settle(result);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
      if (this.isStopped) for (const { reject } of waiters) reject(error);
      else this.#waiters.unshift(...waiters);
      this.#repeatIn(FAULT_REPEAT_MS);
    }
  }

  #repeatIn(delayMs: number | undefined): void {
    clearTimeout(this.#repeat);
    if (delayMs === undefined || this.isStopped) return;
    this.#repeat = setTimeout(() => this.#queue(), Math.max(1, delayMs));
  }
}
