// What the watch has told of the lease keys so far, as short marks, so that it can be compared with what the store holds.
// Pure.
import type { LeaseRecord } from "../../etcd-api/lease-record.ts";

/** Enough of a key to see whether it was written again. */
export type LeaseMark = Pick<LeaseRecord, "key" | "createRevision" | "revision" | "version" | "storeLeaseId"> &
  Partial<Pick<LeaseRecord, "lease" | "reason">>;

interface KnownMark {
  readonly createRevision: bigint;
  /** The revisions, and the store lease, whose id no write in another history has. */
  readonly stamp: string;
}

/** How the store differs from what was reported. */
export interface MirrorDifference {
  /** The store holds an old write that was never told: it has another past. */
  readonly isOtherPast: boolean;
  /** Key → stamp of what the store holds there, "" for nothing. */
  readonly keys: ReadonlyMap<string, string>;
}

export class LeaseMirror {
  readonly #marks = new Map<string, KnownMark>();
  /** Everything up to here has been reported. 0n: nothing yet. */
  #revision = 0n;
  #needsValues = false;
  /** Keys the watch told of since a comparison began. */
  #touched: Set<string> | undefined;
  #beganAt = 0n;

  get size(): number {
    return this.#marks.size;
  }

  /** Whether a comparison needs the values as well: without a store lease only they tell two histories apart. */
  get needsValues(): boolean {
    return this.#needsValues;
  }

  replace(records: readonly LeaseMark[], revision: bigint): void {
    this.#marks.clear();
    this.#needsValues = false;
    this.#touched = undefined;
    for (const record of records) this.put(record);
    this.#revision = revision;
  }

  put(record: LeaseMark): void {
    const { key, createRevision } = record;
    if (isAmbiguous(key)) return;
    this.#touched?.add(key);
    this.#needsValues ||= record.storeLeaseId === 0n;
    this.#marks.set(key, { createRevision, stamp: stampOf(record) });
  }

  delete(key: string): void {
    this.#touched?.add(key);
    this.#marks.delete(key);
  }

  followTo(revision: bigint): void {
    if (revision > this.#revision) this.#revision = revision;
  }

  /** To be called before the store is read for `compare`. */
  beginComparison(): void {
    this.#touched = new Set();
    this.#beganAt = this.#revision;
  }

  /** `records`: all that the store held at some moment since `beginComparison`; with values where `needsValues`. */
  compare(records: readonly LeaseMark[]): MirrorDifference {
    const touched = this.#touched ?? new Set();
    this.#touched = undefined;
    const keys = new Map<string, string>();
    const missing = new Set(this.#marks.keys());
    let isOtherPast = false;
    for (const record of records) {
      const { key } = record;
      missing.delete(key);
      if (isAmbiguous(key) || touched.has(key)) continue;
      const known = this.#marks.get(key);
      const stamp = stampOf(record);
      if (known?.stamp === stamp) continue;
      keys.set(key, stamp);
      isOtherPast ||= this.#isUntoldPast(record, known);
    }
    for (const key of missing) if (!touched.has(key)) keys.set(key, "");
    return { isOtherPast, keys };
  }

  /** Whatever was written up to the mirror's revision has been reported, unless it was in another history. */
  #isUntoldPast({ revision, createRevision }: LeaseMark, known: KnownMark | undefined): boolean {
    if (revision <= this.#beganAt) return true;
    return createRevision <= this.#beganAt && createRevision !== known?.createRevision;
  }
}

/** Names that were made printable may coincide; none of them is a lease. */
function isAmbiguous(key: string): boolean {
  return /[?…]/.test(key);
}

function stampOf({ revision, createRevision, version, storeLeaseId, lease, reason }: LeaseMark): string {
  const stamp = `${revision} ${createRevision} ${version} ${storeLeaseId}`;
  if (storeLeaseId !== 0n) return stamp;
  return `${stamp} ${lease === undefined ? reason : JSON.stringify(lease.attributes)}`;
}
