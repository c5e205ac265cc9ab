// The SQLite file: statements, durability. Everything is synchronous; callers open and end transactions.
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import type { KeyValue } from "../../etcd-api/etcd.ts";
import { noteLargeBuffer } from "../../sys/large-buffers.ts";
import { type Change, firstChangeNumber, revisionOf } from "./change.ts";
import { unusable } from "./database-files.ts";
import { asOf, within } from "./key-conditions.ts";
import type { KeyRange } from "./key-range.ts";
import { unframeKeyValues } from "./key-value-frames.ts";
import { SCHEMA_VERSION } from "./schema.ts";
import { Statements } from "./statements.ts";

export interface LeaseRow {
  readonly id: bigint;
  readonly ttlSeconds: bigint;
  /** Time it had left when it was last written down: never less than it really has. */
  readonly remainingMs: bigint;
}

export interface HistoryPage {
  readonly changes: readonly Change[];
  readonly isComplete: boolean;
}

/** What is known of a present key without its value. */
export interface KeyState {
  readonly number: bigint;
  readonly createRevision: bigint;
  readonly version: bigint;
  readonly lease: bigint;
}

/** Key-values in order, as frames one after the other. */
export interface FramedKeys {
  readonly frames: Uint8Array;
  readonly count: bigint;
}

interface HistoryRow {
  readonly number: bigint;
  readonly key: Uint8Array;
  readonly frame: Uint8Array | null;
}

/** How much a read would give. */
export interface Measure {
  readonly bytes: bigint;
  readonly count: bigint;
}

export type MetaName = "cluster_id" | "member_id" | "compact_revision" | "term";

const nothing = new Uint8Array(0);

export class Database implements Disposable {
  readonly #db: DatabaseSync;
  readonly #sql: Statements;

  private constructor(db: DatabaseSync) {
    this.#db = db;
    this.#sql = new Statements(db);
  }

  /** Throws SQLite's errors, and when the file was made by another version. */
  static open(file: string): Database {
    const db = new DatabaseSync(file);
    try {
      // Before the first access: then SQLite keeps the log's index in memory, not in a file that a full disk has no room
      // for. Nobody else may open the file while we run.
      db.exec("PRAGMA locking_mode = EXCLUSIVE");
      const version = Number(db.prepare("PRAGMA user_version").get()?.["user_version"]);
      db.exec("PRAGMA journal_mode = WAL");
      // FULL: a commit returns after fsync of the log. The log is kept small, the cache bounded. It is brought into the
      // file every 4,000 pages, not 1,000: pages that change again are written once, half the time of random writes.
      db.exec("PRAGMA synchronous = FULL");
      db.exec("PRAGMA wal_autocheckpoint = 4000");
      db.exec("PRAGMA journal_size_limit = 16777216");
      db.exec("PRAGMA cache_size = -2048");
      if (version === 0) throw unusable(`${file} has no tables`, file);
      if (version !== SCHEMA_VERSION)
        throw new Error(
          `${file} has format ${version}, but this flannel-store reads format ${SCHEMA_VERSION}: use the version that wrote the file`,
        );
      return new Database(db);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** For tables that others keep in the same file, see `extend`. */
  get statements(): Statements {
    return this.#sql;
  }

  /** Adds tables, within the transaction if there is one. */
  extend(schema: string): void {
    this.#db.exec(schema);
  }

  begin(): void {
    this.#sql.run("BEGIN IMMEDIATE");
  }

  /** Returns when what was written is on disk. */
  commit(): void {
    this.#sql.run("COMMIT");
  }

  rollback(): void {
    if (this.#db.isTransaction) this.#sql.run("ROLLBACK");
  }

  /** What follows can be undone without the rest of the transaction, until `unmark`. */
  mark(): void {
    this.#sql.run("SAVEPOINT operation");
  }

  undoToMark(): void {
    this.#sql.run("ROLLBACK TO operation");
  }

  unmark(): void {
    this.#sql.run("RELEASE operation");
  }

  meta(name: MetaName): bigint | undefined {
    return this.#sql.get<{ value: bigint }>("SELECT value FROM meta WHERE name = ?", name)?.value;
  }

  setMeta(name: MetaName, value: bigint): void {
    this.#sql.run(
      "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
      name,
      value,
    );
  }

  /** Of the last change of all; undefined before the first. */
  lastRevision(): bigint | undefined {
    const last = this.#sql.get<{ number: bigint | null }>("SELECT max(number) AS number FROM history")?.number;
    return last === undefined || last === null ? undefined : revisionOf(last);
  }

  /** Present keys in order; `limit` 0n: all. */
  readCurrent(range: KeyRange, limit: bigint): FramedKeys {
    const [condition, parameters] = within("c.key", range);
    const rows = `SELECT h.frame FROM current c JOIN history h ON h.number = c.number
      WHERE ${condition} ORDER BY c.key LIMIT ?`;
    return this.#joined(rows, ...parameters, limit > 0n ? limit : -1n);
  }

  countCurrent(range: KeyRange): bigint {
    const [condition, parameters] = within("c.key", range);
    return this.#count(`SELECT count(*) AS n FROM current c WHERE ${condition}`, ...parameters);
  }

  /** The present state of one key. */
  state(key: Uint8Array): KeyState | undefined {
    const sql = "SELECT number, create_revision AS createRevision, version, lease AS lease FROM current WHERE key = ?";
    return this.#sql.get<KeyState>(sql, key);
  }

  /** The key and value that were written as this change. */
  readChange(number: bigint): KeyValue | undefined {
    const frame = this.#sql.get<{ frame: Uint8Array | null }>(
      "SELECT frame FROM history WHERE number = ?",
      number,
    )?.frame;
    return frame === undefined || frame === null ? undefined : unframeKeyValues(frame)[0];
  }

  /** Keys as they were after `revision`, which must not be compacted. */
  readAt(range: KeyRange, revision: bigint, limit: bigint): FramedKeys {
    const [condition, parameters] = asOf(range, revision);
    const rows = `SELECT h.frame FROM history h WHERE ${condition} ORDER BY h.key LIMIT ?`;
    return this.#joined(rows, ...parameters, limit > 0n ? limit : -1n);
  }

  countAt(range: KeyRange, revision: bigint): bigint {
    const [condition, parameters] = asOf(range, revision);
    return this.#count(`SELECT count(*) AS n FROM history h WHERE ${condition}`, ...parameters);
  }

  /** What `readCurrent`, or `readAt`, would give, without reading it. */
  measure(range: KeyRange, limit: bigint, revision?: bigint): Measure {
    const [rows, [condition, parameters]] =
      revision === undefined
        ? ["current c JOIN history h ON h.number = c.number", within("c.key", range)]
        : ["history h", asOf(range, revision)];
    const order = revision === undefined ? "c.key" : "h.key";
    const sql = `SELECT coalesce(sum(bytes), 0) AS bytes, count(*) AS count FROM (
      SELECT length(h.frame) AS bytes FROM ${rows} WHERE ${condition} ORDER BY ${order} LIMIT ?)`;
    return this.#sql.get<Measure>(sql, ...parameters, limit > 0n ? limit : -1n) ?? { bytes: 0n, count: 0n };
  }

  /** Keys of `range` as they were after `revision`, one by one; nothing may be written before the iteration ends. */
  framesAt(range: KeyRange, revision: bigint): Iterable<{ readonly key: Uint8Array; readonly frame: Uint8Array }> {
    const [condition, parameters] = asOf(range, revision);
    const sql = `SELECT h.key AS key, h.frame AS frame FROM history h WHERE ${condition} ORDER BY h.key`;
    return this.#sql.iterate(sql, ...parameters);
  }

  /** The frame of the key's state before `revision`, undefined when there was none or it is compacted. */
  readBefore(key: Uint8Array, revision: bigint): Uint8Array | undefined {
    const sql = "SELECT frame FROM history WHERE key = ? AND number < ? ORDER BY number DESC LIMIT 1";
    return this.#sql.get<{ frame: Uint8Array | null }>(sql, key, firstChangeNumber(revision))?.frame ?? undefined;
  }

  currentKeys(range: KeyRange): Uint8Array[] {
    const [condition, parameters] = within("key", range);
    const rows = this.#sql.all<{ key: Uint8Array }>(
      `SELECT key FROM current WHERE ${condition} ORDER BY key`,
      ...parameters,
    );
    return rows.map(({ key }) => key);
  }

  /** `limit` -1: all. */
  keysOfLease(id: bigint, limit = -1): Uint8Array[] {
    const rows = this.#sql.all<{ key: Uint8Array }>(
      "SELECT key FROM current WHERE lease = ? AND lease <> 0 ORDER BY key LIMIT ?",
      id,
      limit,
    );
    return rows.map(({ key }) => key);
  }

  /** Bytes of what `keysOfLease` would give. */
  measureKeysOfLease(id: bigint): bigint {
    const sql = "SELECT coalesce(sum(length(key)), 0) AS bytes FROM current WHERE lease = ? AND lease <> 0";
    return this.#sql.get<{ bytes: bigint }>(sql, id)?.bytes ?? 0n;
  }

  /** Makes `number` the key's last change, the first one at `revision` when it is new. Call `writeHistory` as well. */
  writeCurrent(key: Uint8Array, number: bigint, revision: bigint, lease: bigint): Omit<KeyState, "number" | "lease"> {
    const sql = `INSERT INTO current (key, number, create_revision, version, lease) VALUES (?, ?, ?, 1, ?)
      ON CONFLICT (key) DO UPDATE SET number = excluded.number, version = version + 1, lease = excluded.lease
      RETURNING create_revision AS createRevision, version`;
    const state = this.#sql.get<Omit<KeyState, "number" | "lease">>(sql, key, number, revision, lease);
    if (state === undefined) throw new Error("a key was written and is not there");
    return state;
  }

  writeHistory(number: bigint, key: Uint8Array, frame: Uint8Array): void {
    this.#sql.run("INSERT INTO history VALUES (?, ?, ?)", number, key, frame);
  }

  /** Deletes what `currentKeys` told: the changes are numbered from `firstNumber` on, in the order of the keys. */
  deleteRange(range: KeyRange, firstNumber: bigint): void {
    const [condition, parameters] = within("key", range);
    const numbered = `SELECT ? + row_number() OVER (ORDER BY key) - 1, key, NULL FROM current WHERE ${condition}`;
    this.#sql.run(`INSERT INTO history ${numbered}`, firstNumber, ...parameters);
    this.#sql.run(`DELETE FROM current WHERE ${condition}`, ...parameters);
  }

  /**
   * Changes of keys in `range` from `revision` on, oldest first: whole revisions, as many as fit `maxRows` and
   * `maxBytes`, at least one. `isComplete` when there are no more.
   */
  changesSince(range: KeyRange, revision: bigint, maxRows: number, maxBytes: number): HistoryPage {
    const [condition, parameters] = within("key", range);
    // The unary plus keeps the planner on the order of revisions: a page never sorts the whole history.
    const unsorted = condition.replaceAll("key", "+key");
    const sql = `SELECT number, key, frame FROM history WHERE number >= ? AND ${unsorted} ORDER BY number`;
    const rows = this.#sql.iterate<HistoryRow>(sql, firstChangeNumber(revision), ...parameters);
    const changes: Change[] = [];
    let bytes = 0;
    for (const { number, key, frame } of rows) {
      const at = revisionOf(number);
      const isNextRevision = at !== changes.at(-1)?.revision;
      if (isNextRevision && (changes.length >= maxRows || bytes >= maxBytes)) return { changes, isComplete: false };
      changes.push({ key, revision: at, frame: frame ?? undefined });
      bytes += key.length + (frame?.length ?? 0);
      noteLargeBuffer(frame?.length ?? 0);
    }
    return { changes, isComplete: true };
  }

  leases(): LeaseRow[] {
    return this.#sql.all<LeaseRow>(
      "SELECT id, ttl_seconds AS ttlSeconds, remaining_ms AS remainingMs FROM lease ORDER BY id",
    );
  }

  hasLease(id: bigint): boolean {
    return this.#sql.get("SELECT 1 FROM lease WHERE id = ?", id) !== undefined;
  }

  putLease({ id, ttlSeconds, remainingMs }: LeaseRow): void {
    this.#sql.run("INSERT OR REPLACE INTO lease VALUES (?, ?, ?)", id, ttlSeconds, remainingMs);
  }

  deleteLease(id: bigint): void {
    this.#sql.run("DELETE FROM lease WHERE id = ?", id);
  }

  /**
   * Forgets, of revisions in `(after, upTo]`, what a read at `compactRevision` or later does not need. To be called with
   * rising windows. A deletion at `compactRevision` itself stays, for watches that start there.
   */
  forget(after: bigint, upTo: bigint, compactRevision: bigint): void {
    this.#sql.run(
      `DELETE FROM history WHERE number >= ?1 AND number < ?2 AND (
         (frame IS NULL AND number < ?3) OR EXISTS (
           SELECT 1 FROM history n WHERE n.key = history.key AND n.number > history.number AND n.number < ?4))`,
      firstChangeNumber(after + 1n),
      firstChangeNumber(upTo + 1n),
      firstChangeNumber(compactRevision),
      firstChangeNumber(compactRevision + 1n),
    );
  }

  /** Of the next `count` changes after `revision` the last one's revision; undefined when there are none. */
  revisionAfter(revision: bigint, count: bigint): bigint | undefined {
    const sql =
      "SELECT max(number) AS last FROM (SELECT number FROM history WHERE number >= ? ORDER BY number LIMIT ?)";
    const last = this.#sql.get<{ last: bigint | null }>(sql, firstChangeNumber(revision + 1n), count)?.last;
    return last === undefined || last === null ? undefined : revisionOf(last);
  }

  /** Gives up to `pages` unused pages back to the file system; returns how many are left. */
  shrink(pages: number): number {
    this.#db.exec(`PRAGMA incremental_vacuum(${pages})`);
    return Number(this.#sql.get<{ freelist_count: bigint }>("PRAGMA freelist_count")?.freelist_count ?? 0n);
  }

  /** Brings the log into the file and cuts it off. */
  checkpoint(): void {
    this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  }

  /** Bytes of the file, and of them in use. */
  size(): { readonly totalBytes: bigint; readonly usedBytes: bigint } {
    const pageSize = this.#sql.get<{ page_size: bigint }>("PRAGMA page_size")?.page_size ?? 0n;
    const pages = this.#sql.get<{ page_count: bigint }>("PRAGMA page_count")?.page_count ?? 0n;
    const free = this.#sql.get<{ freelist_count: bigint }>("PRAGMA freelist_count")?.freelist_count ?? 0n;
    return { totalBytes: pages * pageSize, usedBytes: (pages - free) * pageSize };
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }

  /** The frames that `rows` selects, joined by SQLite: no object is made for any of them. */
  #joined(rows: string, ...parameters: readonly SQLInputValue[]): FramedKeys {
    const sql = `SELECT CAST(group_concat(frame, '') AS BLOB) AS frames, count(*) AS count FROM (${rows})`;
    const joined = this.#sql.get<{ frames: Uint8Array | null; count: bigint }>(sql, ...parameters);
    // The buffer, and the answer that is made around it.
    noteLargeBuffer(2 * (joined?.frames?.length ?? 0));
    return { frames: joined?.frames ?? nothing, count: joined?.count ?? 0n };
  }

  #count(sql: string, ...parameters: readonly SQLInputValue[]): bigint {
    return this.#sql.get<{ n: bigint }>(sql, ...parameters)?.n ?? 0n;
  }
}
