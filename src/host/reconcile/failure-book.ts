// What could not be done, when it is tried again, and whom we are fighting with. No timers: whoever asks says the time.
import type { Slot } from "../kinds/kind.ts";

const FIRST_DELAY_MS = 200;
const MAX_DELAY_MS = 30_000;
/** More repairs of one object within the window than this, and somebody else keeps undoing them. */
const MAX_REPAIRS_PER_WINDOW = 10;
const REPAIR_WINDOW_MS = 60_000;

export interface Failure {
  readonly error: string;
  readonly attempts: number;
  readonly nextAttemptMs: number;
  /** Not a refusal of the kernel: somebody else undoes what we do. */
  readonly isContested: boolean;
}

interface RepairCount {
  windowStartMs: number;
  count: number;
  /** Consecutive rests, for the back-off. */
  rests: number;
}

/** All times are of one monotonic clock, in ms. */
export class FailureBook {
  readonly #failures = new Map<Slot, Failure>();
  readonly #repairs = new Map<Slot, RepairCount>();

  get size(): number {
    return this.#failures.size;
  }

  entries(): IterableIterator<[Slot, Failure]> {
    return this.#failures.entries();
  }

  fail(slot: Slot, error: string, nowMs: number): void {
    const attempts = (this.#failures.get(slot)?.attempts ?? 0) + 1;
    const nextAttemptMs = nowMs + Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempts - 1, 10));
    this.#failures.set(slot, { error, attempts, nextAttemptMs, isContested: false });
  }

  succeed(slot: Slot): void {
    this.#failures.delete(slot);
  }

  has(slot: Slot): boolean {
    return this.#failures.has(slot);
  }

  /** How often it failed in a row; 0 when it did not. */
  attemptsOf(slot: Slot): number {
    return this.#failures.get(slot)?.attempts ?? 0;
  }

  isWaiting(slot: Slot, nowMs: number): boolean {
    const failure = this.#failures.get(slot);
    return failure !== undefined && failure.nextAttemptMs > nowMs;
  }

  isContested(slot: Slot): boolean {
    return this.#failures.get(slot)?.isContested === true;
  }

  /** Something that failures may hang on has changed: try again at once, except where somebody fights us. */
  retryAll(): void {
    for (const [slot, failure] of this.#failures) {
      if (!failure.isContested) this.#failures.set(slot, { ...failure, nextAttemptMs: 0 });
    }
  }

  /** When the next attempt is due; undefined when nothing waits. */
  nextAttemptMs(): number | undefined {
    let next: number | undefined;
    for (const { nextAttemptMs } of this.#failures.values()) next = Math.min(next ?? nextAttemptMs, nextAttemptMs);
    return next;
  }

  /** Counts a repair that is about to be made. False when it has to rest first, because it never lasts. */
  admitRepair(slot: Slot, nowMs: number): boolean {
    const known = this.#repairs.get(slot);
    if (known === undefined || nowMs - known.windowStartMs > REPAIR_WINDOW_MS) {
      this.#repairs.set(slot, { windowStartMs: nowMs, count: 1, rests: 0 });
      return true;
    }
    known.count++;
    if (known.count <= MAX_REPAIRS_PER_WINDOW) return true;
    // The window follows, so that the fight counts as over only after a quiet minute.
    known.windowStartMs = nowMs;
    known.rests++;
    const delayMs = Math.min(MAX_DELAY_MS, 1_000 * 2 ** Math.min(known.rests - 1, 10));
    this.#failures.set(slot, {
      error: `contended: another program keeps undoing the repair; next repair in ${Math.round(delayMs / 1_000)} s`,
      attempts: known.count,
      nextAttemptMs: nowMs + delayMs,
      isContested: true,
    });
    return false;
  }

  /** Drops counts of repairs that are long past. */
  sweep(nowMs: number): void {
    for (const [slot, { windowStartMs }] of this.#repairs) {
      if (nowMs - windowStartMs > REPAIR_WINDOW_MS) this.#repairs.delete(slot);
    }
  }

  /** Forgets what no longer exists. */
  forget(slot: Slot): void {
    this.#failures.delete(slot);
    this.#repairs.delete(slot);
  }
}
