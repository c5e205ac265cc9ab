// What could not be done and when it is tried again, and how fast repairs may follow each other. No timers: whoever asks
// says the time.
import { pauseAfterMs } from "../../async/growing-pause.ts";
import type { Slot } from "../kinds/kind.ts";
import { RateLimit } from "./rate-limit.ts";

const RETRY = { firstMs: 200, maxMs: 30_000 } as const;
/**
 * A program that changes an object all the time costs us no more than this, and no more than this much time without the
 * object: a longer rest would make an outage of what a repair mends.
 */
const REPAIRS_PER_SECOND_OF_ONE = 10;
/** Of all objects that were repaired before; the first repair of each is never held up, so a flushed table is back at once. */
const REPAIRS_PER_SECOND_OF_ALL = 500;
/** A repair after a longer time is a first one again. */
const QUIET_MS = 60_000;

export interface Failure {
  readonly error: string;
  readonly attempts: number;
  readonly nextAttemptMs: number;
  /** Not a refusal of the kernel: another program undoes what we do faster than we repair. */
  readonly isContested: boolean;
}

interface RepairRate {
  lastMs: number;
  readonly limit: RateLimit;
}

/** All times are of one monotonic clock, in ms. */
export class Failures {
  readonly #failures = new Map<Slot, Failure>();
  readonly #repairs = new Map<Slot, RepairRate>();
  readonly #allRepeated = new RateLimit(REPAIRS_PER_SECOND_OF_ALL);

  get size(): number {
    return this.#failures.size;
  }

  entries(): IterableIterator<[Slot, Failure]> {
    return this.#failures.entries();
  }

  fail(slot: Slot, error: string, nowMs: number): void {
    const attempts = (this.#failures.get(slot)?.attempts ?? 0) + 1;
    const nextAttemptMs = nowMs + pauseAfterMs(attempts, RETRY);
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

  /** Something that failures may hang on has changed: try again at once, except what waits for its rate. */
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

  /** Counts a repair that is about to be made. False when it has to wait a moment first: it is then due by itself. */
  admitRepair(slot: Slot, nowMs: number): boolean {
    const known = this.#repairs.get(slot);
    const isFirst = known === undefined || nowMs - known.lastMs > QUIET_MS;
    const rate = isFirst ? { lastMs: nowMs, limit: new RateLimit(REPAIRS_PER_SECOND_OF_ONE) } : known;
    this.#repairs.set(slot, rate);
    const atMs = isFirst ? nowMs : this.#allRepeated.earliestMs(rate.limit.earliestMs(nowMs));
    rate.limit.take(atMs);
    rate.lastMs = atMs;
    if (!isFirst) this.#allRepeated.take(atMs);
    if (atMs <= nowMs) return true;
    this.#failures.set(slot, {
      error: `contended: another program keeps undoing the repair; next repair in ${Math.ceil(atMs - nowMs)} ms`,
      attempts: 0,
      nextAttemptMs: atMs,
      isContested: true,
    });
    return false;
  }

  /** Drops counts of repairs that are long past. */
  sweep(nowMs: number): void {
    for (const [slot, { lastMs }] of this.#repairs) if (nowMs - lastMs > QUIET_MS) this.#repairs.delete(slot);
  }

  /** Forgets what no longer exists. */
  forget(slot: Slot): void {
    this.#failures.delete(slot);
    this.#repairs.delete(slot);
  }
}
