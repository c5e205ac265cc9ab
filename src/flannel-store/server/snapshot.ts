// What reads and comparisons are evaluated against: the store at one moment, maybe in the middle of a transaction.
import type { FramedKeys, KeyState, Measure } from "./database.ts";
import type { KeyRange } from "./key-range.ts";

export interface Snapshot {
  /** Of the last change, own uncommitted ones included. */
  readonly revision: bigint;
  /** Reads at earlier revisions are refused. */
  readonly compactRevision: bigint;
  /** Keys in order; `limit` 0n: all. `revision` missing: now. */
  read(range: KeyRange, limit: bigint, revision?: bigint): FramedKeys;
  /** How much `read` would give, without reading it. */
  measure(range: KeyRange, limit: bigint, revision?: bigint): Measure;
  count(range: KeyRange, revision?: bigint): bigint;
  /** Of one key, now. */
  state(key: Uint8Array): KeyState | undefined;
  hasLease(id: bigint): boolean;
}
