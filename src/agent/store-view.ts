// What we know of the store's health: when it last answered, whether the watch is connected. For readiness and status.
import type { LeaseChange } from "../lease/lease.ts";
import type { Logger } from "../telemetry/logger.ts";

export class StoreView {
  readonly #logger: Logger;
  #seenMonotonicMs: number | undefined;
  #isConnected = false;
  #obstacle: string | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** The store answered just now. */
  answered(): void {
    this.#seenMonotonicMs = performance.now();
  }

  /** What stands between us and our first lease; undefined when nothing does. */
  setObstacle(reason: string | undefined): void {
    this.#obstacle = reason;
  }

  get obstacle(): string | undefined {
    return this.#obstacle;
  }

  follow(change: LeaseChange): void {
    if (change.type === "disconnected") {
      if (this.#isConnected) {
        const text = "connection to the store lost: forwarding goes on, trying to reconnect";
        this.#logger.warn("store.disconnected", text, { reason: change.reason });
      }
      this.#isConnected = false;
      return;
    }
    if (!this.#isConnected) this.#logger.info("store.connected", "watching the leases", { revision: change.revision });
    this.#isConnected = true;
    this.answered();
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** On the monotonic clock, so that a clock jump makes nobody unready; undefined when the store never answered. */
  get ageMs(): number | undefined {
    return this.#seenMonotonicMs === undefined ? undefined : performance.now() - this.#seenMonotonicMs;
  }
}
