// SQLite's result codes, out of the errors that node:sqlite throws.

const SQLITE_FULL = 13;

/** The primary one; undefined when the error is not SQLite's. */
export function resultCode(error: unknown): number | undefined {
  if (!(error instanceof Error && "errcode" in error)) return undefined;
  // The upper bits say more.
  return Number(error.errcode) & 0xff;
}

export function isDiskFull(error: unknown): boolean {
  return resultCode(error) === SQLITE_FULL;
}
