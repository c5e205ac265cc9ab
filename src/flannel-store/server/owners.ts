// Who wrote a key, and who was granted a store lease, in stores that tell their callers apart. In tables of their own, so that
// builds that know nothing of them open the file; what they write then has no owner that is known.
import type { Database } from "./database.ts";

/** Triggers: whoever deletes a key or a lease, expiry and an older build too, its owner goes with it. */
const schema = `
  CREATE TABLE key_owner (key BLOB PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
  CREATE INDEX key_owner_by_owner ON key_owner (owner);
  CREATE TRIGGER key_without_owner AFTER DELETE ON current
    BEGIN DELETE FROM key_owner WHERE key = OLD.key; END;
  CREATE TABLE lease_owner (number INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER UNIQUE NOT NULL, owner TEXT NOT NULL);
  CREATE INDEX lease_owner_by_owner ON lease_owner (owner);
  CREATE TRIGGER lease_without_owner AFTER DELETE ON lease
    BEGIN DELETE FROM lease_owner WHERE id = OLD.id; END;
`;

/** Of one database. Writes belong into a transaction of it. */
export class Owners {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  ofKey(key: Uint8Array): string | undefined {
    return this.#one("SELECT owner FROM key_owner WHERE key = ?", key);
  }

  ofLease(id: bigint): string | undefined {
    return this.#one("SELECT owner FROM lease_owner WHERE id = ?", id);
  }

  countKeys(owner: string): number {
    if (!this.#isKept) return 0;
    const sql = "SELECT count(*) AS n FROM key_owner WHERE owner = ?";
    return Number(this.#database.statements.get<{ n: bigint }>(sql, owner)?.n ?? 0n);
  }

  keysOf(owner: string): Uint8Array[] {
    if (!this.#isKept) return [];
    const sql = "SELECT key FROM key_owner WHERE owner = ? ORDER BY key";
    return this.#database.statements.all<{ key: Uint8Array }>(sql, owner).map(({ key }) => key);
  }

  /** Those on which no key hangs, the oldest first. */
  unusedLeases(owner: string): bigint[] {
    if (!this.#isKept) return [];
    const sql = `SELECT id FROM lease_owner WHERE owner = ?
      AND NOT EXISTS (SELECT 1 FROM current WHERE lease = lease_owner.id AND lease <> 0) ORDER BY number`;
    return this.#database.statements.all<{ id: bigint }>(sql, owner).map(({ id }) => id);
  }

  noteKey(key: Uint8Array, owner: string): void {
    this.#ensureTables();
    this.#database.statements.run("INSERT OR REPLACE INTO key_owner VALUES (?, ?)", key, owner);
  }

  forgetKey(key: Uint8Array): void {
    if (this.#isKept) this.#database.statements.run("DELETE FROM key_owner WHERE key = ?", key);
  }

  noteLease(id: bigint, owner: string): void {
    this.#ensureTables();
    this.#database.statements.run("INSERT OR REPLACE INTO lease_owner (id, owner) VALUES (?, ?)", id, owner);
  }

  /** Asked each time: what a transaction made is gone when that is undone. */
  get #isKept(): boolean {
    const sql = "SELECT 1 FROM sqlite_schema WHERE name = 'key_owner'";
    return this.#database.statements.get(sql) !== undefined;
  }

  #ensureTables(): void {
    if (!this.#isKept) this.#database.extend(schema);
  }

  #one(sql: string, parameter: Uint8Array | bigint): string | undefined {
    if (!this.#isKept) return undefined;
    return this.#database.statements.get<{ owner: string }>(sql, parameter)?.owner;
  }
}
