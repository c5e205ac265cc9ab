// Repairs of traffic rules: what a difference stands for, and how the log tells of it.
import { type Repair, type RepairLines, repairsInWords } from "../async/repair-log.ts";
import type { Logger } from "../telemetry/logger.ts";

const NAMED_IN_LOG = 3;
const AUTHORS_IN_LOG = 20;

export function ruleRepairLines(logger: Logger): RepairLines {
  const warn = (message: string, count: number, total: number, authors: readonly string[]): void =>
    logger.warn("firewall.repaired", message, { count, total, authors: authors.slice(-AUTHORS_IN_LOG) });
  return {
    repaired(repairs, authors, total) {
      const words = repairsInWords(repairs, NAMED_IN_LOG);
      warn(`${namesOf(authors)} changed flannel's traffic rules; repaired: ${words}`, repairs.length, total, authors);
    },
    contested(contests, authors, total) {
      const count = contests.reduce((sum, { unreported }) => sum + unreported, 0);
      const last = contests.flatMap((contest) => contest.last);
      const words = `repaired ${count} since the last line, last: ${repairsInWords(last, NAMED_IN_LOG)}`;
      warn(`${namesOf(authors)} keeps changing flannel's traffic rules; ${words}`, count, total, authors);
    },
  };
}

/** The lines of a difference that one look found and that was repaired. All rules are one contest. */
export function ruleRepairs(difference: readonly string[]): Repair[] {
  const at = new Date().toISOString();
  return difference.map((line) => ({
    at,
    object: line.slice(2),
    action: actionOf(line),
    kind: "rule",
    contest: "traffic rules",
  }));
}

function namesOf(authors: readonly string[]): string {
  return authors.length === 0 ? "another program" : authors.slice(-NAMED_IN_LOG).join(", ");
}

function actionOf(line: string): Repair["action"] {
  if (line.startsWith("+")) return "added";
  return line.startsWith("-") ? "removed" : "corrected";
}
