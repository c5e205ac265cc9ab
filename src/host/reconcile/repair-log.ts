// What somebody else broke and we put back: counted, the last ones remembered, one log line a pass.

import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { Slot } from "../kinds/kind.ts";

export interface RepairRecord {
  /** RFC 3339. */
  readonly at: string;
  /** The object as `ip`, `bridge` or `sysctl` show it. */
  readonly object: string;
  readonly action: "added" | "corrected" | "removed";
}

export interface Repair extends RepairRecord {
  /** Name of the kind of object. */
  readonly kind: string;
}

const REMEMBERED = 20;
const NAMED_IN_LOG = 5;

export class RepairLog {
  readonly #logger: Logger;
  readonly #metrics: MetricsRecorder | undefined;
  #total = 0;
  #last: RepairRecord[] = [];

  constructor(logger: Logger, metrics?: MetricsRecorder) {
    this.#logger = logger;
    this.#metrics = metrics;
  }

  get total(): number {
    return this.#total;
  }

  /** At most 20, oldest first. */
  get last(): readonly RepairRecord[] {
    return this.#last;
  }

  /** The repairs of one pass. */
  record(found: readonly Repair[]): void {
    if (found.length === 0) return;
    for (const { kind, action } of found) this.#metrics?.count("flannel_host_repairs_total", { kind, action });
    const repairs = found.map(({ kind: _, ...repair }) => repair);
    this.#total += repairs.length;
    this.#last = [...this.#last, ...repairs.slice(-REMEMBERED)].slice(-REMEMBERED);
    const named = repairs.slice(0, NAMED_IN_LOG).map(({ action, object }) => `${action} ${object}`);
    const others = repairs.length - named.length;
    this.#logger.warn(
      "host.repaired",
      `external change of flannel's kernel objects; repaired: ${named.join("; ")}${others > 0 ? ` and ${others} more` : ""}`,
      { count: repairs.length, total: this.#total },
    );
  }
}

/** What has to be done to a slot; `object` is its line. */
export function repairOf(slot: Slot, object: string): Omit<Repair, "at"> {
  return { kind: slot.kind.name, object, action: actionOn(slot) };
}

function actionOn({ desired, observed }: Slot): RepairRecord["action"] {
  if (desired === undefined) return "removed";
  return observed === undefined ? "added" : "corrected";
}
