// The SQLite file: schema, statements, durability. Everything is synchronous; callers open and end transactions.
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { type Event, Event_EventType, type KeyValue } from "../etcd/protocol/etcd.ts";
import type { KeyRange } from "./key-range.ts";

const SCHEMA_VERSION = 1;

/** A row of `history` with version 0 says that the key was deleted at that revision. */
const schema = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE history (
    revision INTEGER NOT NULL,
    sub INTEGER NOT NULL,
    key BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (revision, sub)
  ) WITHOUT ROWID;
  CREATE INDEX history_by_key ON history (key, revision, sub);
  CREATE TABLE current (
    key BLOB PRIMARY KEY,
    revision INTEGER NOT NULL,
    sub INTEGER NOT NULL,
    lease INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX current_by_lease ON current (lease, key) WHERE lease <> 0;
  CREATE TABLE lease (
    id INTEGER PRIMARY KEY,
    ttl_seconds INTEGER NOT NULL,
    remaining_ms INTEGER NOT NULL
  );
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** Named as in the protocol, so that a row is a message. */
const columns =
  "h.key, h.create_revision AS createRevision, h.revision AS modRevision, h.version, h.value, h.lease AS lease";

export interface LeaseRow {
  readonly id: bigint;
  readonly ttlSeconds: bigint;
  /** Time it had left when it was last written down: never less than it really has. */
  readonly remainingMs: bigint;
}

export interface HistoryPage {
  readonly events: readonly Event[];
  readonly isComplete: boolean;
}

export type MetaName = "cluster_id" | "member_id" | "revision" | "compact_revision" | "term";

export class Database implements Disposable {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  private constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /** Opens or creates the file. Throws SQLite's errors, and when the file was made by a newer version. */
  static open(file: string): Database {
    const db = new DatabaseSync(file);
    try {
      // Before the first table: given-back pages can be cut off the file later.
      db.exec("PRAGMA auto_vacuum = INCREMENTAL");
      db.exec("PRAGMA journal_mode = WAL");
      // FULL: a commit returns after fsync of the log. The log is kept small, the cache bounded.
      db.exec("PRAGMA synchronous = FULL");
      db.exec("PRAGMA journal_size_limit = 16777216");
      db.exec("PRAGMA cache_size = -16384");
      db.exec("PRAGMA locking_mode = EXCLUSIVE");
      const version = Number(db.prepare("PRAGMA user_version").get()?.["user_version"]);
      if (version === 0) db.exec(`BEGIN IMMEDIATE; ${schema} COMMIT`);
      else if (version !== SCHEMA_VERSION) throw new Error(`${file} has format ${version}, known is ${SCHEMA_VERSION}`);
      return new Database(db);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  begin(): void {
    this.#run("BEGIN IMMEDIATE");
  }

  /** Returns when what was written is on disk. */
  commit(): void {
    this.#run("COMMIT");
  }

  rollback(): void {
    if (this.#db.isTransaction) this.#run("ROLLBACK");
  }

  meta(name: MetaName): bigint | undefined {
    return this.#get<{ value: bigint }>("SELECT value FROM meta WHERE name = ?", name)?.value;
  }

  setMeta(name: MetaName, value: bigint): void {
    this.#run("INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value);
  }

  /** Present keys in order; `limit` 0n: all. */
  readCurrent(range: KeyRange, limit: bigint): KeyValue[] {
    const [condition, parameters] = within("c.key", range);
    return this.#all<KeyValue>(
      `SELECT ${columns} FROM current c JOIN history h ON h.revision = c.revision AND h.sub = c.sub
       WHERE ${condition} ORDER BY c.key LIMIT ?`,
      ...parameters,
      limit > 0n ? limit : -1n,
    );
  }

  countCurrent(range: KeyRange): bigint {
    const [condition, parameters] = within("c.key", range);
    return this.#count(`SELECT count(*) AS n FROM current c WHERE ${condition}`, ...parameters);
  }

  /** Keys as they were after `revision`, which must not be compacted. */
  readAt(range: KeyRange, revision: bigint, limit: bigint): KeyValue[] {
    const [condition, parameters] = asOf(range, revision);
    return this.#all<KeyValue>(
      `SELECT ${columns} FROM history h WHERE ${condition} ORDER BY h.key LIMIT ?`,
      ...parameters,
      limit > 0n ? limit : -1n,
    );
  }

  countAt(range: KeyRange, revision: bigint): bigint {
    const [condition, parameters] = asOf(range, revision);
    return this.#count(`SELECT count(*) AS n FROM history h WHERE ${condition}`, ...parameters);
  }

  /** The key's state before `revision`, undefined when there was none or it is compacted. */
  readBefore(key: Uint8Array, revision: bigint): KeyValue | undefined {
    const before = this.#get<KeyValue>(
      `SELECT ${columns} FROM history h WHERE h.key = ? AND h.revision < ? ORDER BY h.revision DESC, h.sub DESC LIMIT 1`,
      key,
      revision,
    );
    return before === undefined || before.version === 0n ? undefined : before;
  }

  keysOfLease(id: bigint): Uint8Array[] {
    const rows = this.#all<{ key: Uint8Array }>(
      "SELECT key FROM current WHERE lease = ? AND lease <> 0 ORDER BY key",
      id,
    );
    return rows.map(({ key }) => key);
  }

  /** `kv.modRevision` is the revision; a deletion has version 0n. `sub` counts the changes within one revision. */
  writeChange({ type, kv }: Event, sub: bigint): void {
    if (kv === undefined) return;
    const { key, modRevision, createRevision, version, lease, value } = kv;
    this.#run(
      "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)",
      modRevision,
      sub,
      key,
      createRevision,
      version,
      lease,
      value,
    );
    if (type === Event_EventType.DELETE) this.#run("DELETE FROM current WHERE key = ?", key);
    else {
      this.#run(
        `INSERT INTO current VALUES (?, ?, ?, ?) ON CONFLICT (key)
         DO UPDATE SET revision = excluded.revision, sub = excluded.sub, lease = excluded.lease`,
        key,
        modRevision,
        sub,
        lease,
      );
    }
  }

  /**
   * Changes of keys in `range` from `revision` on, oldest first, without previous values: whole revisions, as many as
   * fit `maxRows` and `maxBytes`, at least one. `isComplete` when there are no more.
   */
  changesSince(range: KeyRange, revision: bigint, maxRows: number, maxBytes: number): HistoryPage {
    const [condition, parameters] = within("h.key", range);
    // The unary plus keeps the planner on the order of revisions: a page never sorts the whole history.
    const unsorted = condition.replaceAll("h.key", "+h.key");
    const sql = `SELECT ${columns} FROM history h WHERE h.revision >= ? AND ${unsorted} ORDER BY h.revision, h.sub`;
    const rows: Iterable<unknown> = this.#statement(sql).iterate(revision, ...parameters);
    const events: Event[] = [];
    let bytes = 0;
    for (const row of rows) {
      const kv = row as KeyValue;
      const isNextRevision = kv.modRevision !== events.at(-1)?.kv?.modRevision;
      if (isNextRevision && (events.length >= maxRows || bytes >= maxBytes)) return { events, isComplete: false };
      const type = kv.version === 0n ? Event_EventType.DELETE : Event_EventType.PUT;
      events.push({ type, kv, prevKv: undefined });
      bytes += kv.key.length + kv.value.length;
    }
    return { events, isComplete: true };
  }

  leases(): LeaseRow[] {
    return this.#all<LeaseRow>(
      "SELECT id, ttl_seconds AS ttlSeconds, remaining_ms AS remainingMs FROM lease ORDER BY id",
    );
  }

  hasLease(id: bigint): boolean {
    return this.#get("SELECT 1 FROM lease WHERE id = ?", id) !== undefined;
  }

  putLease({ id, ttlSeconds, remainingMs }: LeaseRow): void {
    this.#run("INSERT OR REPLACE INTO lease VALUES (?, ?, ?)", id, ttlSeconds, remainingMs);
  }

  deleteLease(id: bigint): void {
    this.#run("DELETE FROM lease WHERE id = ?", id);
  }

  /**
   * Forgets, of revisions in `(after, upTo]`, what a read at `compactRevision` or later does not need. To be called with
   * rising windows. A deletion at `compactRevision` itself stays, for watches that start there.
   */
  forget(after: bigint, upTo: bigint, compactRevision: bigint): void {
    this.#run(
      `DELETE FROM history WHERE revision > ?1 AND revision <= ?2 AND (
         (version = 0 AND revision < ?3) OR EXISTS (
           SELECT 1 FROM history n WHERE n.key = history.key AND n.revision <= ?3
             AND (n.revision, n.sub) > (history.revision, history.sub)))`,
      after,
      upTo,
      compactRevision,
    );
  }

  /** Of the next `count` changes after `revision` the last one's revision; undefined when there are none. */
  revisionAfter(revision: bigint, count: bigint): bigint | undefined {
    return (
      this.#get<{ last: bigint | null }>(
        "SELECT max(revision) AS last FROM (SELECT revision FROM history WHERE revision > ? ORDER BY revision LIMIT ?)",
        revision,
        count,
      )?.last ?? undefined
    );
  }

  /** Gives up to `pages` unused pages back to the file system; returns how many are left. */
  shrink(pages: number): number {
    this.#db.exec(`PRAGMA incremental_vacuum(${pages})`);
    return Number(this.#get<{ freelist_count: bigint }>("PRAGMA freelist_count")?.freelist_count ?? 0n);
  }

  /** Brings the log into the file and cuts it off. */
  checkpoint(): void {
    this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  }

  /** Bytes of the file, and of them in use. */
  size(): { readonly totalBytes: bigint; readonly usedBytes: bigint } {
    const pageSize = this.#get<{ page_size: bigint }>("PRAGMA page_size")?.page_size ?? 0n;
    const pages = this.#get<{ page_count: bigint }>("PRAGMA page_count")?.page_count ?? 0n;
    const free = this.#get<{ freelist_count: bigint }>("PRAGMA freelist_count")?.freelist_count ?? 0n;
    return { totalBytes: pages * pageSize, usedBytes: (pages - free) * pageSize };
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }

  #statement(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#db.prepare(sql);
    statement.setReadBigInts(true);
    this.#statements.set(sql, statement);
    return statement;
  }

  #run(sql: string, ...parameters: readonly SQLInputValue[]): void {
    this.#statement(sql).run(...parameters);
  }

  /** The caller knows the columns of its own statement. */
  #all<Row>(sql: string, ...parameters: readonly SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...parameters) as Row[];
  }

  #get<Row>(sql: string, ...parameters: readonly SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...parameters) as Row | undefined;
  }

  #count(sql: string, ...parameters: readonly SQLInputValue[]): bigint {
    return this.#get<{ n: bigint }>(sql, ...parameters)?.n ?? 0n;
  }
}

function within(column: string, { start, end }: KeyRange): [string, SQLInputValue[]] {
  if (end === undefined) return [`${column} >= ?`, [start]];
  return [`${column} >= ? AND ${column} < ?`, [start, end]];
}

/** Of each key its last change up to `revision`, unless that is its deletion. */
function asOf(range: KeyRange, revision: bigint): [string, SQLInputValue[]] {
  const [condition, parameters] = within("h.key", range);
  const text = `${condition} AND h.revision <= ? AND h.version > 0 AND NOT EXISTS (
    SELECT 1 FROM history n WHERE n.key = h.key AND n.revision <= ? AND (n.revision, n.sub) > (h.revision, h.sub))`;
  return [text, [...parameters, revision, revision]];
}
