// What an interrupted verb still has to put back: the process does not end before it.
/** So long it may take. */
const BACK_WITHIN_MS = 30_000;

const running = new Set<Promise<void>>();

/** For work that the interruption must not interrupt: the signal is a clock of its own. */
export async function rollBack(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const begun = work(AbortSignal.timeout(BACK_WITHIN_MS));
  running.add(begun);
  try {
    await begun;
  } finally {
    running.delete(begun);
  }
}

export async function allRolledBack(): Promise<void> {
  await Promise.allSettled(running);
}
