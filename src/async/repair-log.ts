// External changes that the agent repaired: counted, the last ones remembered, told in one line a pass; one line a minute
// for what another program changes again and again.
import type { MetricsRecorder } from "../telemetry/metrics/metrics.ts";

export interface RepairRecord {
  /** RFC 3339. */
  readonly at: string;
  /** The object as the tool shows it that people use for it: `ip`, `bridge`, `nft`. */
  readonly object: string;
  readonly action: "added" | "corrected" | "removed";
}

export interface Repair extends RepairRecord {
  /** Name of the kind of object. */
  readonly kind: string;
  /** What stood in its place, as the same tool shows it; missing: nothing. */
  readonly found?: string | undefined;
  /** Repairs with the same name are one contest; default: those of the same object. */
  readonly contest?: string;
}

/** What is repaired again and again without a quiet minute between two repairs. */
export interface Contest {
  readonly name: string;
  /** Repairs since the last line. */
  readonly unreported: number;
  /** Of the last pass. */
  readonly last: readonly Repair[];
  /** What stood in its place the last time that anything did. */
  readonly found: string | undefined;
}

/** Writes the lines of the log. `authors` since the last line, as far as the kernel named any. */
export interface RepairLines {
  repaired(repairs: readonly Repair[], authors: readonly string[], total: number): void;
  contested(contests: readonly Contest[], authors: readonly string[], total: number): void;
}

const REMEMBERED = 20;
/** More passes with a repair of it than this are a contest. */
const PASSES_BEFORE_CONTEST = 5;
const QUIET_MS = 60_000;
const LINE_EVERY_MS = 60_000;

interface OpenContest {
  passes: number;
  lastMs: number;
  unreported: number;
  last: readonly Repair[];
  found: string | undefined;
}

/** All times are of one monotonic clock, in ms. */
export class RepairLog {
  readonly #lines: RepairLines;
  readonly #metrics: MetricsRecorder | undefined;
  readonly #contests = new Map<string, OpenContest>();
  readonly #authors = new Set<string>();
  #lastContestLineMs = Number.NEGATIVE_INFINITY;
  #total = 0;
  #last: RepairRecord[] = [];

  constructor(lines: RepairLines, metrics?: MetricsRecorder) {
    this.#lines = lines;
    this.#metrics = metrics;
  }

  get total(): number {
    return this.#total;
  }

  /** At most 20, oldest first. */
  get last(): readonly RepairRecord[] {
    return this.#last;
  }

  /** The repairs of one pass, also of none: contests are reported when their time has come. */
  record(repairs: readonly Repair[], nowMs: number, authors: readonly string[] = []): void {
    const author = authorLabel(authors);
    for (const { kind, action } of repairs) this.#metrics?.count("flannel_repairs_total", { kind, action, author });
    this.#total += repairs.length;
    const remembered = repairs.slice(-REMEMBERED).map(({ at, object, action }) => ({ at, object, action }));
    this.#last = [...this.#last, ...remembered].slice(-REMEMBERED);
    if (repairs.length > 0) for (const name of authors) this.#authors.add(name);
    const groups = [...Map.groupBy(repairs, ({ contest, object }) => contest ?? object)];
    const single = groups
      .filter(([name, group]) => !this.#isContested(name, group, nowMs))
      .flatMap(([, group]) => group);
    if (single.length > 0) this.#lines.repaired(single, this.#takeAuthors(), this.#total);
    this.#reportContests(nowMs);
  }

  #isContested(name: string, repairs: readonly Repair[], nowMs: number): boolean {
    const known = this.#contests.get(name);
    const isKnown = known !== undefined && nowMs - known.lastMs <= QUIET_MS;
    const contest = isKnown ? known : { passes: 0, unreported: 0, lastMs: nowMs, last: repairs, found: undefined };
    this.#contests.set(name, contest);
    contest.passes++;
    contest.lastMs = nowMs;
    contest.last = repairs;
    contest.found = repairs.findLast(({ found }) => found !== undefined)?.found ?? contest.found;
    if (contest.passes <= PASSES_BEFORE_CONTEST) return false;
    contest.unreported += repairs.length;
    return true;
  }

  #reportContests(nowMs: number): void {
    if (nowMs - this.#lastContestLineMs < LINE_EVERY_MS) return;
    const told = [...this.#contests].filter(([, { unreported }]) => unreported > 0);
    if (told.length > 0) {
      this.#lastContestLineMs = nowMs;
      const contests = told.map(([name, { unreported, last, found }]) => ({ name, unreported, last, found }));
      this.#lines.contested(contests, this.#takeAuthors(), this.#total);
      for (const [, contest] of told) contest.unreported = 0;
    }
    for (const [name, { lastMs }] of this.#contests) if (nowMs - lastMs > QUIET_MS) this.#contests.delete(name);
  }

  #takeAuthors(): string[] {
    const authors = [...this.#authors];
    this.#authors.clear();
    return authors;
  }
}

/** `added X; removed Y and 3 more` */
export function repairsInWords(repairs: readonly RepairRecord[], named: number): string {
  const words = repairs.slice(0, named).map(({ action, object }) => `${action} ${object}`);
  return `${words.join("; ")}${andMore(repairs.length - words.length)}`;
}

export function andMore(count: number): string {
  return count > 0 ? ` and ${count} more` : "";
}

/** The program alone: with pids there would be a new label for each repair. */
function authorLabel(authors: readonly string[]): string {
  const programs = new Set(authors.map((author) => author.replace(/ \(pid \d+\)$/, "")));
  const [program = "unknown"] = programs;
  return programs.size > 1 ? "several" : program;
}
