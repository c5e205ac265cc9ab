// What an interrupted verb still has to put back: the process does not end before it.
const running = new Set<Promise<void>>();

/** For work that the interruption must not interrupt; it is to end by a clock of its own. */
export async function putBack(work: () => Promise<void>): Promise<void> {
  const begun = work();
  running.add(begun);
  try {
    await begun;
  } finally {
    running.delete(begun);
  }
}

export async function allPutBack(): Promise<void> {
  await Promise.allSettled(running);
}
