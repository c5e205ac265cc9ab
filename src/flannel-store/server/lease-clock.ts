// Which leases there are and when they end, on the monotonic clock: a jump of the wall clock ends none early, and time
// during which the store was down does not count.
import type { LeaseRow } from "./database.ts";

export interface LeaseState {
  readonly id: bigint;
  readonly ttlSeconds: bigint;
  readonly deadlineMs: number;
  /** The remaining time that stands in the database. */
  readonly writtenMs: number;
}

export class LeaseClock {
  readonly #leases = new Map<bigint, LeaseState>();

  /** Starts or restarts the lease's time with what `row` says is left. */
  set({ id, ttlSeconds, remainingMs }: LeaseRow): void {
    const leftMs = Number(remainingMs);
    this.#leases.set(id, { id, ttlSeconds, deadlineMs: performance.now() + leftMs, writtenMs: leftMs });
  }

  /** Gives every lease so much more time. */
  postpone(ms: number): void {
    for (const [id, lease] of this.#leases) this.#leases.set(id, { ...lease, deadlineMs: lease.deadlineMs + ms });
  }

  delete(id: bigint): void {
    this.#leases.delete(id);
  }

  get(id: bigint): LeaseState | undefined {
    return this.#leases.get(id);
  }

  get size(): number {
    return this.#leases.size;
  }

  /** Every lease, the one that ends first at the front. */
  all(): LeaseState[] {
    return [...this.#leases.values()].sort((a, b) => a.deadlineMs - b.deadlineMs);
  }

  due(): bigint[] {
    const nowMs = performance.now();
    const ended: bigint[] = [];
    for (const { id, deadlineMs } of this.#leases.values()) if (deadlineMs <= nowMs) ended.push(id);
    return ended;
  }
}

export function remainingMs({ deadlineMs }: LeaseState): number {
  return Math.max(0, deadlineMs - performance.now());
}
