// How long our own lease lives and when it is to be renewed. Its end is judged by the time since boot, which nobody can
// set and which goes on while the host sleeps: a wall clock that jumps ends no lease and keeps none alive.
import { uptime } from "node:os";

/** By less than this the wall clock drifts without having been set. */
const DRIFT_MS = 1_000;

export class LeaseLife {
  readonly #endsAtBootMs: number;
  readonly #reportedExpiryMs: number | undefined;
  /** What the wall clock is ahead of the time since boot. */
  readonly #wallAheadMs: number;
  /** Both clocks: the wall clock may jump back, the monotonic one stands still while the host sleeps. */
  readonly #renewAt: { readonly monotonicMs: number; readonly wallMs: number };

  /**
   * To be made when the store has just reported `expiresAtMs`, on the wall clock; undefined: never. A lease shorter than the
   * margin is renewed after a third of its life rather than in a loop.
   */
  constructor(expiresAtMs: number | undefined, renewMarginMs: number) {
    const lifeMs = expiresAtMs === undefined ? Number.POSITIVE_INFINITY : expiresAtMs - Date.now();
    const inMs = lifeMs > renewMarginMs ? lifeMs - renewMarginMs : lifeMs / 3;
    this.#endsAtBootMs = sinceBootMs() + lifeMs;
    this.#reportedExpiryMs = expiresAtMs;
    this.#wallAheadMs = Date.now() - sinceBootMs();
    this.#renewAt = { monotonicMs: performance.now() + inMs, wallMs: Date.now() + inMs };
  }

  get hasEnded(): boolean {
    return sinceBootMs() >= this.#endsAtBootMs;
  }

  /** Of the end, on the wall clock as it is set now; undefined: never. */
  get expiresAtMs(): number | undefined {
    const setByMs = Date.now() - sinceBootMs() - this.#wallAheadMs;
    return this.#reportedExpiryMs === undefined || Math.abs(setByMs) < DRIFT_MS
      ? this.#reportedExpiryMs
      : this.#reportedExpiryMs + setByMs;
  }

  get isRenewalDue(): boolean {
    return performance.now() >= this.#renewAt.monotonicMs || Date.now() >= this.#renewAt.wallMs;
  }

  get untilRenewalMs(): number {
    return this.#renewAt.monotonicMs - performance.now();
  }
}

/** CLOCK_BOOTTIME, as libuv reads it from /proc/uptime: to 10 ms. */
function sinceBootMs(): number {
  return uptime() * 1_000;
}
