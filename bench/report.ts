// Results as a table for a terminal.
import { type Figure, percentile, type SetResult } from "./bench-set.ts";

const headings = ["", "", "value", "min – max", "n", "target", ""];

export function resultTable({ set, title, loadBefore, loadAfter, figures, notes }: SetResult): string {
  const load = `load ${formatLoad(loadBefore)} before, ${formatLoad(loadAfter)} after`;
  return [`${set}: ${title} (${load})`, ...alignColumns([headings, ...figures.map(row)]), ...notes].join("\n");
}

function row({ name, statistic, value, unit, samples, atMost, atLeast }: Figure): readonly string[] {
  const range = `${formatNumber(percentile(samples, 0))} – ${formatNumber(percentile(samples, 100))}`;
  const bound = atMost ?? atLeast;
  const target = bound === undefined ? "" : `${atMost === undefined ? "≥" : "≤"} ${bound} ${unit}`;
  const isMet = value <= (atMost ?? value) && value >= (atLeast ?? value);
  const verdict = bound === undefined ? "" : isMet ? "ok" : "MISSED";
  return [name, statistic, `${formatNumber(value)} ${unit}`, range, String(samples.length), target, verdict];
}

function formatNumber(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  return value.toFixed(digits);
}

export function formatLoad(load: readonly number[]): string {
  return load.map((value) => value.toFixed(1)).join(" ");
}

/** Text columns to the left, numbers to the right. */
function alignColumns(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = headings.map((_, column) => Math.max(...rows.map((cells) => (cells[column] ?? "").length)));
  const isNumeric = (column: number) => column >= 2 && column <= 5;
  return rows.map((cells) => {
    const padded = cells.map((cell, column) => {
      const width = widths[column] ?? 0;
      return isNumeric(column) ? cell.padStart(width) : cell.padEnd(width);
    });
    return `  ${padded.join("  ").trimEnd()}`;
  });
}
