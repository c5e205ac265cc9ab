// SQL conditions for ranges of keys, with their parameters. Pure.
import type { SQLInputValue } from "node:sqlite";
import { firstChangeNumber } from "./change.ts";
import type { KeyRange } from "./key-range.ts";

export function within(column: string, { start, end }: KeyRange): [string, SQLInputValue[]] {
  if (end === undefined) return [`${column} >= ?`, [start]];
  return [`${column} >= ? AND ${column} < ?`, [start, end]];
}

/** Of each key its last change up to `revision`, unless that is its deletion. */
export function asOf(range: KeyRange, revision: bigint): [string, SQLInputValue[]] {
  const [condition, parameters] = within("h.key", range);
  const text = `${condition} AND h.number < ? AND h.frame IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM history n WHERE n.key = h.key AND n.number > h.number AND n.number < ?)`;
  const end = firstChangeNumber(revision + 1n);
  return [text, [...parameters, end, end]];
}
