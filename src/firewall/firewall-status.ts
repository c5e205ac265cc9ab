// What the firewall reconciler says about itself, and the memory behind it.
import type { Logger } from "../telemetry/logger.ts";
import type { MetricsRecorder } from "../telemetry/metrics/metrics.ts";
import type { EngineName } from "./rule-engine.ts";

export interface RuleRepair {
  /** RFC 3339. */
  readonly at: string;
  readonly object: string;
  readonly action: "added" | "corrected" | "removed";
}

export interface RuleFailure {
  readonly object: string;
  readonly error: string;
  readonly attempts: number;
  /** `own`: rules are missing. `leftover`: those of an earlier mode cannot be removed. */
  readonly scope: "own" | "leftover";
}

export interface FirewallStatus {
  /** Where the rules are kept; `none`: this host has no tool for them. */
  readonly mode: EngineName | "none";
  /** Why there; a clause. */
  readonly reason: string;
  /** What is odd about it. */
  readonly warnings: readonly string[];
  /** Places of rules that cannot be read completely and are therefore left alone, in words. */
  readonly unreadable: readonly string[];
  /** What holds up the writing of rules now; a clause. */
  readonly waitsFor: string | undefined;
  readonly failures: readonly RuleFailure[];
  readonly repairs: { readonly total: number; readonly last: readonly RuleRepair[] };
}

const REMEMBERED = 20;
const NAMED_IN_LOG = 3;
/** More passes with repairs than this without a quiet minute between them, and one line a minute tells of them. */
const PASSES_BEFORE_CONTEST = 5;
const QUIET_MS = 60_000;
const LINE_EVERY_MS = 60_000;

export class RuleRepairLog {
  readonly #logger: Logger;
  readonly #metrics: MetricsRecorder | undefined;
  #total = 0;
  #last: RuleRepair[] = [];
  /** Passes with repairs since the last quiet minute. */
  #passes = 0;
  #lastPassMs = 0;
  #lastLineMs = 0;
  /** Since the last line. */
  #unreported = 0;
  #authors = new Set<string>();

  constructor(logger: Logger, metrics?: MetricsRecorder) {
    this.#logger = logger;
    this.#metrics = metrics;
  }

  get repairs(): FirewallStatus["repairs"] {
    return { total: this.#total, last: this.#last };
  }

  /**
   * The differences that one look found and put right; `authors` as far as the kernel named them. `nowMs` of a monotonic
   * clock.
   */
  record(difference: readonly string[], authors: readonly string[], nowMs = performance.now()): void {
    const at = new Date().toISOString();
    const repairs = difference.map((line): RuleRepair => ({ at, object: line.slice(2), action: actionOf(line) }));
    this.#total += repairs.length;
    for (const { action } of repairs) {
      this.#metrics?.count("flannel_repairs_total", { kind: "rule", action, author: authorLabel(authors) });
    }
    this.#last = [...this.#last, ...repairs].slice(-REMEMBERED);
    this.#unreported += repairs.length;
    for (const author of authors) this.#authors.add(author);
    this.#passes = nowMs - this.#lastPassMs > QUIET_MS ? 1 : this.#passes + 1;
    this.#lastPassMs = nowMs;
    const isContested = this.#passes > PASSES_BEFORE_CONTEST;
    // The first line of a contest comes at once.
    const isLineDue = this.#passes === PASSES_BEFORE_CONTEST + 1 || nowMs - this.#lastLineMs >= LINE_EVERY_MS;
    if (isContested && !isLineDue) return;
    this.#lastLineMs = nowMs;
    this.#report(repairs, isContested);
  }

  #report(repairs: readonly RuleRepair[], isContested: boolean): void {
    const named = repairs.slice(0, NAMED_IN_LOG).map(({ action, object }) => `${action} ${object}`);
    const more = repairs.length > named.length ? ` and ${repairs.length - named.length} more` : "";
    const authors = [...this.#authors];
    const who = authors.length === 0 ? "another program" : authors.slice(-NAMED_IN_LOG).join(", ");
    const doing = isContested ? "keeps changing" : "changed";
    const last = isContested ? `repaired ${this.#unreported} since the last line, last` : "repaired";
    this.#logger.warn(
      "firewall.repaired",
      `${who} ${doing} flannel's traffic rules; ${last}: ${named.join("; ")}${more}`,
      { count: this.#unreported, total: this.#total, authors: authors.slice(-REMEMBERED) },
    );
    this.#unreported = 0;
    this.#authors.clear();
  }
}

/** The program alone: with pids there would be a new label for each repair. */
function authorLabel(authors: readonly string[]): string {
  const programs = new Set(authors.map((author) => author.replace(/ \(pid \d+\)$/, "")));
  const [program = "unknown"] = programs;
  return programs.size > 1 ? "several" : program;
}

function actionOf(line: string): RuleRepair["action"] {
  if (line.startsWith("+")) return "added";
  return line.startsWith("-") ? "removed" : "corrected";
}
