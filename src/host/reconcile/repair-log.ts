// What somebody else broke and we put back: counted, the last ones remembered, one log line a pass; one a minute for
// what is broken again and again.
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { Slot } from "../kinds/kind.ts";
import { ContestLog } from "./contest-log.ts";

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
  /** What stood in its place, as `ip`, `bridge` or `sysctl` show it; undefined: nothing. */
  readonly found: string | undefined;
}

const REMEMBERED = 20;
const NAMED_IN_LOG = 5;

export class RepairLog {
  readonly #logger: Logger;
  readonly #metrics: MetricsRecorder | undefined;
  readonly #contests: ContestLog;
  #total = 0;
  #last: RepairRecord[] = [];

  constructor(logger: Logger, metrics?: MetricsRecorder) {
    this.#logger = logger;
    this.#metrics = metrics;
    this.#contests = new ContestLog(logger);
  }

  get total(): number {
    return this.#total;
  }

  /** At most 20, oldest first. */
  get last(): readonly RepairRecord[] {
    return this.#last;
  }

  /** The repairs of one pass, also of none: contests are told when their time has come. `nowMs` of a monotonic clock. */
  record(found: readonly Repair[], nowMs: number): void {
    for (const { kind, action } of found) {
      // The kernel does not say who writes routes and the like.
      this.#metrics?.count("flannel_repairs_total", { kind, action, author: "unknown" });
    }
    this.#total += found.length;
    const remembered = found.slice(-REMEMBERED).map(({ at, object, action }) => ({ at, object, action }));
    this.#last = [...this.#last, ...remembered].slice(-REMEMBERED);
    this.#logRepairs(found.filter((repair) => !this.#contests.count(repair, nowMs)));
    this.#contests.report(nowMs);
  }

  #logRepairs(repairs: readonly Repair[]): void {
    if (repairs.length === 0) return;
    const named = repairs.slice(0, NAMED_IN_LOG).map(({ action, object }) => `${action} ${object}`);
    const others = repairs.length - named.length;
    this.#logger.warn(
      "host.repaired",
      `external change of flannel's kernel objects; repaired: ${named.join("; ")}${others > 0 ? ` and ${others} more` : ""}`,
      { count: repairs.length, total: this.#total },
    );
  }
}

/** What has to be done to a slot; `object` is its line, `found` what stood in its place. */
export function repairOf(slot: Slot, object: string, found: string | undefined): Omit<Repair, "at"> {
  return { kind: slot.kind.name, object, action: actionOn(slot), found };
}

function actionOn({ desired, observed }: Slot): RepairRecord["action"] {
  if (desired === undefined) return "removed";
  return observed === undefined ? "added" : "corrected";
}
