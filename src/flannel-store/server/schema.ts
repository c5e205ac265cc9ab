// The tables of the SQLite file, and a new file with them.
import { DatabaseSync } from "node:sqlite";

export const SCHEMA_VERSION = 2;

/**
 * `number` holds the revision and the place within it, see change.ts. Rows with a rowid, since others would put all but
 * the first kilobyte of a value on pages of their own. A missing frame says that the key was deleted.
 */
const schema = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE history (number INTEGER PRIMARY KEY, key BLOB NOT NULL, frame BLOB);
  CREATE INDEX history_by_key ON history (key);
  CREATE TABLE current (
    key BLOB PRIMARY KEY,
    number INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
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

/** Makes an empty database in the file, which is empty. Throws SQLite's errors. */
export function createDatabase(file: string): void {
  const db = new DatabaseSync(file);
  try {
    // Before the first table: given-back pages can be cut off the file later.
    db.exec("PRAGMA auto_vacuum = INCREMENTAL");
    db.exec("PRAGMA journal_mode = WAL");
    db.exec("PRAGMA synchronous = FULL");
    db.exec(`BEGIN IMMEDIATE; ${schema} COMMIT`);
  } finally {
    db.close();
  }
}
