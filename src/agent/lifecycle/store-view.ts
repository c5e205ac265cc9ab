// What we know of the store's health: when it last answered, whether the watch is connected. For readiness and status.
import type { Lease, LeaseChange } from "../../lease/lease.ts";
import { describeOwner } from "../../lease/lease-owner.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";

/** Whether the leases can be followed. */
type Connection =
  | { readonly name: "connected" }
  | {
      readonly name: "apart";
      /** As told last; missing before the store was tried. */
      readonly reason?: string;
      /** A reason since it went away that waiting does not cure. */
      readonly refusal?: string;
    };

export class StoreView {
  readonly #logger: Logger;
  readonly #metrics: MetricsRecorder | undefined;
  #seenMonotonicMs: number | undefined;
  #connection: Connection = { name: "apart" };
  #obstacle: string | undefined;

  constructor(logger: Logger, metrics?: MetricsRecorder) {
    this.#logger = logger;
    this.#metrics = metrics;
  }

  /** The store answered just now. */
  answered(): void {
    this.#seenMonotonicMs = performance.now();
  }

  /** The store answered, to who follows something else in it than leases. */
  reached(what: string): void {
    if (!this.isConnected) this.#logger.info("store.connected", `watching ${what}`);
    this.#connection = { name: "connected" };
    this.answered();
  }

  /** What stands between us and our first lease; undefined when nothing does. */
  setObstacle(reason: string | undefined): void {
    this.#obstacle = reason;
  }

  get obstacle(): string | undefined {
    return this.#obstacle;
  }

  /** Returns whether the store is back after it was away. */
  follow(change: LeaseChange): boolean {
    if (change.type === "disconnected") {
      const { reason, isRefusal } = change;
      if (this.isConnected) {
        this.#metrics?.count("flannel_store_disconnections_total", {});
        const text = "lost the connection to the store: reconnecting; forwarding continues";
        this.#logger.warn("store.disconnected", text, { reason });
      } else if (this.outage !== reason) {
        this.#logger.warn("store.unreachable", "the store is still not available: retrying", { reason });
      }
      const refusal = isRefusal === true ? reason : this.refusal;
      this.#connection = { name: "apart", reason, ...(refusal !== undefined && { refusal }) };
      return false;
    }
    const isBack = !this.isConnected;
    if (isBack) {
      const revision = String(change.revision);
      this.#logger.info("store.connected", "connected to the store: watching the leases", { revision });
    }
    this.#connection = { name: "connected" };
    this.answered();
    this.#logChange(change);
    return isBack;
  }

  #logChange(change: Exclude<LeaseChange, { type: "disconnected" }>): void {
    const { type } = change;
    const revision = String(change.revision);
    if (type === "contact") {
      this.#logger.verbose(6, "store.contact", "the store answered", { revision });
      return;
    }
    for (const { key, reason } of change.unreadable) {
      const message = "a key in the store is not a valid lease: ignoring it";
      this.#logger.warn("lease.unreadable", message, { key, reason });
    }
    if (type === "snapshot") {
      if (change.missedKeys !== undefined) {
        const message = "the store's watch had left out changes: corrected by reading all leases";
        this.#logger.warn("leases.corrected", message, { keys: change.missedKeys.slice(0, 10) });
      }
      this.#logger.verbose(1, "leases.read", `read ${change.leases.length} leases`, { revision });
      for (const lease of change.leases) this.#logLease(lease);
      return;
    }
    this.#logger.verbose(1, "leases.changed", `${change.changes.length} leases changed`, { revision });
    for (const event of change.changes) {
      const kind = event.type === "put" ? "put" : "deleted";
      this.#metrics?.count("flannel_lease_changes_total", { change: kind });
      if (event.type === "put") this.#logLease(event.lease);
      else
        this.#logger.verbose(2, "lease.deleted", "a peer's lease expired or was revoked", {
          key: event.key,
          cause: "lease",
          revision: String(event.revision),
        });
    }
  }

  #logLease({ key, attributes, revision }: Lease): void {
    const { publicIp, publicIpv6 } = attributes;
    const cause = { cause: "lease", revision: String(revision), by: publicIp ?? publicIpv6 };
    this.#logger.verbose(2, "lease.seen", () => `leased to ${describeOwner(attributes)}`, { key, ...cause });
  }

  /** Why the leases cannot be followed, as told last; undefined while they are. */
  get outage(): string | undefined {
    return this.#connection.name === "apart" ? this.#connection.reason : undefined;
  }

  /** A reason of this outage that waiting does not cure. */
  get refusal(): string | undefined {
    return this.#connection.name === "apart" ? this.#connection.refusal : undefined;
  }

  get isConnected(): boolean {
    return this.#connection.name === "connected";
  }

  /** On the monotonic clock, so that a clock jump makes nobody unready; undefined when the store never answered. */
  get ageMs(): number | undefined {
    return this.#seenMonotonicMs === undefined ? undefined : performance.now() - this.#seenMonotonicMs;
  }
}
