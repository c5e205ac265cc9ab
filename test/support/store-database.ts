// A new database of flannel-store in a directory of its own, which goes with the test process.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Database } from "../../src/flannel-store/server/database.ts";
import { createDatabase } from "../../src/flannel-store/server/schema.ts";

export function newDatabase(): Database {
  const directory = mkdtempSync(join(tmpdir(), "flannel-database-"));
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, "store.db");
  createDatabase(file);
  return Database.open(file);
}
