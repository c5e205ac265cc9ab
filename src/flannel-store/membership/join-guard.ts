// Slows down those who try tokens: a wrong one costs time, and after some from one source that source has to wait.
import { setTimeout as delay } from "node:timers/promises";
import { sourceOf } from "../grpc/unauthenticated-connections.ts";

const FAILURE_DELAY_MS = 300;
const MAX_FAILURES = 20;
const WINDOW_MS = 60_000;
const MAX_SOURCES = 1_000;
const MAX_AT_ONCE = 32;

interface Failures {
  count: number;
  /** On the monotonic clock. */
  readonly untilMs: number;
}

export class JoinGuard {
  /** The longest there first. */
  readonly #failures = new Map<string, Failures>();
  #running = 0;

  /** Undefined when it may go on, else what to say. Each call that may is followed by `leave`. */
  enter(address: string): string | undefined {
    if (this.#running >= MAX_AT_ONCE) return "too many hosts are joining now: try again";
    const failures = this.#failures.get(sourceOf(address));
    if (failures !== undefined && failures.count >= MAX_FAILURES && failures.untilMs > performance.now()) {
      return "too many wrong tokens from your address: wait a minute, then try again";
    }
    this.#running++;
    return undefined;
  }

  leave(): void {
    this.#running--;
  }

  /** Counts a failure and resolves when the one who failed has waited. */
  async slowDown(address: string): Promise<void> {
    const source = sourceOf(address);
    const now = performance.now();
    const known = this.#failures.get(source);
    this.#failures.delete(source);
    const isOver = known === undefined || known.untilMs <= now;
    this.#failures.set(source, isOver ? { count: 1, untilMs: now + WINDOW_MS } : { ...known, count: known.count + 1 });
    const [oldest] = this.#failures.keys();
    if (this.#failures.size > MAX_SOURCES && oldest !== undefined) this.#failures.delete(oldest);
    await delay(FAILURE_DELAY_MS);
  }
}
