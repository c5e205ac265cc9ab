// What somebody else broke and we put back: counted, the last ones remembered, one log line a pass.

import type { Logger } from "../../telemetry/logger.ts";
import type { AnySlot } from "./host-table.ts";

export interface Repair {
  /** RFC 3339. */
  readonly at: string;
  /** The object as `ip`, `bridge` or `sysctl` show it. */
  readonly object: string;
  readonly action: "added" | "corrected" | "removed";
}

const REMEMBERED = 20;
const NAMED_IN_LOG = 5;

export class RepairLog {
  readonly #logger: Logger;
  #total = 0;
  #last: Repair[] = [];

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get total(): number {
    return this.#total;
  }

  /** At most 20, oldest first. */
  get last(): readonly Repair[] {
    return this.#last;
  }

  /** The repairs of one pass. */
  record(repairs: readonly Repair[]): void {
    if (repairs.length === 0) return;
    this.#total += repairs.length;
    this.#last = [...this.#last, ...repairs.slice(-REMEMBERED)].slice(-REMEMBERED);
    const named = repairs.slice(0, NAMED_IN_LOG).map(({ action, object }) => `${action} ${object}`);
    const others = repairs.length - named.length;
    this.#logger.warn(
      "host.repaired",
      `somebody changed what flannel keeps on this host; put it back: ${named.join("; ")}${others > 0 ? ` and ${others} more` : ""}`,
      { count: repairs.length, total: this.#total },
    );
  }
}

/** What has to be done to a slot, in the word the log uses. */
export function repairAction({ desired, observed }: AnySlot): Repair["action"] {
  if (desired === undefined) return "removed";
  return observed === undefined ? "added" : "corrected";
}
