// What reads and comparisons are evaluated against: the store at one moment, maybe in the middle of a transaction.
import type { KeyValue } from "../etcd/protocol/etcd.ts";
import type { KeyRange } from "./key-range.ts";

export interface Snapshot {
  /** Of the last change, own uncommitted ones included. */
  readonly revision: bigint;
  /** Reads at earlier revisions are refused. */
  readonly compactRevision: bigint;
  /** Keys in order; `limit` 0n: all. `revision` missing: now. */
  read(range: KeyRange, limit: bigint, revision?: bigint): KeyValue[];
  count(range: KeyRange, revision?: bigint): bigint;
  hasLease(id: bigint): boolean;
}
