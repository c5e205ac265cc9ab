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
  readonly failures: readonly RuleFailure[];
  readonly repairs: { readonly total: number; readonly last: readonly RuleRepair[] };
}

const REMEMBERED = 20;
const NAMED_IN_LOG = 3;
const FIGHT_WINDOW_MS = 10_000;
const REPAIRS_WITHOUT_FIGHT = 5;

export class RuleRepairLog {
  readonly #logger: Logger;
  readonly #metrics: MetricsRecorder | undefined;
  #total = 0;
  #last: RuleRepair[] = [];
  #passesMs: number[] = [];

  constructor(logger: Logger, metrics?: MetricsRecorder) {
    this.#logger = logger;
    this.#metrics = metrics;
  }

  get repairs(): FirewallStatus["repairs"] {
    return { total: this.#total, last: this.#last };
  }

  /** Somebody undoes what we repair, over and over. */
  get isFight(): boolean {
    const since = performance.now() - FIGHT_WINDOW_MS;
    this.#passesMs = this.#passesMs.filter((atMs) => atMs > since);
    return this.#passesMs.length > REPAIRS_WITHOUT_FIGHT;
  }

  /** The differences that one look found and put right; `authors` as far as the kernel named them. */
  record(difference: readonly string[], authors: readonly string[]): void {
    const at = new Date().toISOString();
    const repairs = difference.map((line): RuleRepair => ({ at, object: line.slice(2), action: actionOf(line) }));
    this.#total += repairs.length;
    for (const { action } of repairs) {
      this.#metrics?.count("flannel_firewall_repairs_total", { action, author: authorLabel(authors) });
    }
    this.#last = [...this.#last, ...repairs].slice(-REMEMBERED);
    this.#passesMs.push(performance.now());
    const named = repairs.slice(0, NAMED_IN_LOG).map(({ action, object }) => `${action} ${object}`);
    const more = repairs.length > named.length ? ` and ${repairs.length - named.length} more` : "";
    const who = authors.length === 0 ? "another program" : authors.join(", ");
    this.#logger.warn(
      "firewall.repaired",
      `${who} changed flannel's traffic rules; repaired: ${named.join("; ")}${more}`,
      {
        count: repairs.length,
        total: this.#total,
        authors,
      },
    );
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
