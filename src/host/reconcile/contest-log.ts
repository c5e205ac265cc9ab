// Objects that somebody changes again and again: counted, and told in one log line a minute for all of them.
import type { Logger } from "../../telemetry/logger.ts";

/** A repair that was made. */
interface CountedRepair {
  readonly object: string;
  /** What stood in its place; undefined: nothing. */
  readonly found: string | undefined;
}

interface Contest {
  repairs: number;
  /** Since the last line. */
  unreported: number;
  lastMs: number;
  found: string | undefined;
}

/** More repairs of one object than this without a quiet minute between them are a contest. */
const REPAIRS_BEFORE_CONTEST = 5;
const QUIET_MS = 60_000;
const LINE_EVERY_MS = 60_000;
const NAMED_IN_LOG = 5;

/** All times are of one monotonic clock, in ms. */
export class ContestLog {
  readonly #logger: Logger;
  readonly #contests = new Map<string, Contest>();
  #lastLineMs = Number.NEGATIVE_INFINITY;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** True when the object is contested: `report` tells of this repair. */
  count({ object, found }: CountedRepair, nowMs: number): boolean {
    const known = this.#contests.get(object);
    const isKnown = known !== undefined && nowMs - known.lastMs <= QUIET_MS;
    const contest = isKnown ? known : { repairs: 0, unreported: 0, lastMs: nowMs, found };
    this.#contests.set(object, contest);
    contest.repairs++;
    contest.lastMs = nowMs;
    contest.found = found ?? contest.found;
    if (contest.repairs <= REPAIRS_BEFORE_CONTEST) return false;
    contest.unreported++;
    return true;
  }

  /** Writes the line when it is due. The kernel names nobody for these objects: what was found instead tells most. */
  report(nowMs: number): void {
    if (nowMs - this.#lastLineMs < LINE_EVERY_MS) return;
    const told = [...this.#contests].filter(([, { unreported }]) => unreported > 0);
    if (told.length > 0) {
      this.#lastLineMs = nowMs;
      const named = told.slice(0, NAMED_IN_LOG).map(([object, { unreported, found }]) => {
        const instead = found === undefined ? "it was gone" : `found instead: ${found}`;
        return `${object} (${unreported} more ${unreported === 1 ? "repair" : "repairs"}; ${instead})`;
      });
      const others = told.length - named.length;
      this.#logger.warn(
        "host.contested",
        `contended: another program keeps changing ${named.join("; ")}${others > 0 ? ` and ${others} more` : ""}; repairs continue`,
        { count: told.length },
      );
      for (const [, contest] of told) contest.unreported = 0;
    }
    for (const [object, { lastMs }] of this.#contests) {
      if (nowMs - lastMs > QUIET_MS) this.#contests.delete(object);
    }
  }
}
