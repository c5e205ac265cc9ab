// Compares what the watch told of the leases with what the store holds: after each new watch, and then every hour. A watch
// may leave something out without a sign: etcd's own (a deletion at exactly the compacted revision), and one that goes on
// in a store which was put back from an older copy.
import { setTimeout as delay } from "node:timers/promises";
import { type PassEnd, ReconcileLoop } from "../../async/reconcile-loop.ts";
import type { LeaseMark, LeaseMirror } from "./lease-mirror.ts";

export interface AuditTimings {
  /** The hosts of a network, which all come back at once, spread their reading over this time for each lease. */
  readonly spreadMsPerLease: number;
  readonly intervalMs: number;
  /** What differs may be on its way: it counts when it still differs after this time. */
  readonly settleMs: number;
}

/** After a comparison that failed although the watch goes on. */
const RETRY_MS = 60_000;

/** Within 30 s where there are no more than 3,000 leases. */
export const defaultAuditTimings: AuditTimings = { spreadMsPerLease: 10, intervalMs: 3_600_000, settleMs: 3_000 };

/** The watch is to be given up and everything to be read. */
export interface AuditFinding {
  /** The store is another one, or an older copy of itself. */
  readonly isOtherStore: boolean;
  /** Keys of which the watch told nothing, or something else. */
  readonly keys: readonly string[];
}

export interface LeaseAuditOptions {
  readonly mirror: LeaseMirror;
  readonly timings: AuditTimings;
  /** All lease keys as they are now. */
  readonly read: (withValues: boolean, signal: AbortSignal) => Promise<readonly LeaseMark[]>;
  /** Called at most once, then the audit is over. */
  readonly onFinding: (finding: AuditFinding) => void;
  readonly signal: AbortSignal;
}

export class LeaseAudit implements AsyncDisposable {
  readonly #options: LeaseAuditOptions;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #loop: ReconcileLoop;

  constructor(options: LeaseAuditOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#abort.signal]);
    this.#loop = new ReconcileLoop({ pass: () => this.#audit(), debounceMs: 0, signal: this.#signal });
    this.#loop.start();
  }

  /** A watch was opened, at first or again. */
  opened(): void {
    const { mirror, timings } = this.#options;
    this.#loop.passSoon(Math.random() * mirror.size * timings.spreadMsPerLease);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#loop[Symbol.asyncDispose]();
  }

  /** Never rejects. */
  async #audit(): Promise<PassEnd<void>> {
    const { timings, onFinding } = this.#options;
    if (this.#loop.isStopped) return { result: undefined };
    const finding = await this.#compare().catch(() => "failed" as const);
    if (this.#loop.isStopped) return { result: undefined };
    if (finding !== undefined && finding !== "failed") {
      this.#loop.close();
      onFinding(finding);
    }
    const intervalMs = finding === "failed" ? RETRY_MS : timings.intervalMs;
    return { result: undefined, repeatInMs: intervalMs * (0.9 + Math.random() / 5) };
  }

  async #compare(): Promise<AuditFinding | undefined> {
    const first = await this.#difference();
    if (first.isOtherPast) return { isOtherStore: true, keys: [...first.keys.keys()] };
    if (first.keys.size === 0) return undefined;
    await delay(this.#options.timings.settleMs, undefined, { signal: this.#signal });
    const second = await this.#difference();
    // What the store has held all this time must have been received by now.
    const keys = [...second.keys].filter(([key, stamp]) => first.keys.get(key) === stamp).map(([key]) => key);
    return second.isOtherPast || keys.length > 0 ? { isOtherStore: second.isOtherPast, keys } : undefined;
  }

  async #difference() {
    const { mirror, read } = this.#options;
    mirror.beginComparison();
    return mirror.compare(await read(mirror.needsValues, this.#signal));
  }
}
