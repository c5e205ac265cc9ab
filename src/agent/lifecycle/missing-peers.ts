// After the store was replaced by one that knows less: the peers it lacks are kept for a while. They are taking their
// leases again at this very moment, and packets to them need not stop for that.
import type { LeaseTable, TableUpdate } from "../../lease/lease-table.ts";
import type { AgentLogger } from "../../telemetry/create-logger.ts";

/** Agents find the new store within some seconds, those of a large network within half a minute. */
const GRACE_MS = 60_000;

export class MissingPeers {
  readonly #table: LeaseTable;
  readonly #logger: AgentLogger;
  readonly #onForgotten: () => void;
  readonly #signal: AbortSignal;
  #timer: NodeJS.Timeout | undefined;

  /** `onForgotten`: peers that did not come back were dropped from the table. */
  constructor(table: LeaseTable, logger: AgentLogger, onForgotten: () => void, signal: AbortSignal) {
    this.#table = table;
    this.#logger = logger;
    this.#onForgotten = onForgotten;
    this.#signal = signal;
    signal.addEventListener("abort", () => clearTimeout(this.#timer), { once: true });
  }

  /** To be called with every update of the table. */
  follow({ storeReplaced }: TableUpdate): void {
    const { missingPeers } = this.#table;
    if (storeReplaced !== true || missingPeers === 0) return;
    const message = `the store was replaced and lacks ${missingPeers} peers: keeping them for ${GRACE_MS / 1_000} s`;
    this.#logger.warn("peers.missing", message, { missingPeers });
    // A store that was replaced again has another wait.
    clearTimeout(this.#timer);
    if (!this.#signal.aborted) this.#timer = setTimeout(() => this.#forget(), GRACE_MS).unref();
  }

  #forget(): void {
    const forgotten = this.#table.forgetMissing();
    if (forgotten === 0) return;
    this.#logger.warn("peers.forgotten", `${forgotten} peers did not return to the replaced store: removing them`, {
      forgotten,
    });
    this.#onForgotten();
  }
}
