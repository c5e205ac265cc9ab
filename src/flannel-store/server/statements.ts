// SQLite's statements, prepared once. Integers are read as bigints. The caller knows the columns of its own statement.
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";

export class Statements {
  readonly #db: DatabaseSync;
  readonly #known = new Map<string, StatementSync>();

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  run(sql: string, ...parameters: readonly SQLInputValue[]): void {
    this.#prepared(sql).run(...parameters);
  }

  all<Row>(sql: string, ...parameters: readonly SQLInputValue[]): Row[] {
    return this.#prepared(sql).all(...parameters) as Row[];
  }

  get<Row>(sql: string, ...parameters: readonly SQLInputValue[]): Row | undefined {
    return this.#prepared(sql).get(...parameters) as Row | undefined;
  }

  /** One row at a time. */
  iterate<Row>(sql: string, ...parameters: readonly SQLInputValue[]): Iterable<Row> {
    return this.#prepared(sql).iterate(...parameters) as Iterable<Row>;
  }

  #prepared(sql: string): StatementSync {
    const known = this.#known.get(sql);
    if (known !== undefined) return known;
    const statement = this.#db.prepare(sql);
    statement.setReadBigInts(true);
    this.#known.set(sql, statement);
    return statement;
  }
}
