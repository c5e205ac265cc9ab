// Where two lists differ by identity, when one was made from the other by a few changes. Pure.

/** The elements `before[start, endBefore)` became `after[startAfter, endAfter)`; one of the two may be empty. */
export interface ListChange {
  readonly start: number;
  readonly endBefore: number;
  readonly startAfter: number;
  readonly endAfter: number;
}

/** How far a walk looks for the place at which the lists agree again. */
const WINDOW = 64;

/**
 * The changes in order, without what is the same object in both. Not always the fewest: where the lists agree nowhere near,
 * the rest up to their common end is one change.
 */
export function listChanges<T>(before: readonly T[], after: readonly T[]): readonly ListChange[] {
  if (before === after) return [];
  const common = commonEnd(before, after);
  // What is left of both, without the common end.
  const [left, leftAfter] = [before.slice(0, before.length - common), after.slice(0, after.length - common)];
  const changes: ListChange[] = [];
  let [at, atAfter] = [0, 0];
  while (at < left.length || atAfter < leftAfter.length) {
    if (at < left.length && left[at] === leftAfter[atAfter]) {
      at++;
      atAfter++;
      continue;
    }
    const rest = [left.length - at, leftAfter.length - atAfter] as const;
    const [removed, added] = distanceToAgreement(left, leftAfter, at, atAfter) ?? rest;
    changes.push({ start: at, endBefore: at + removed, startAfter: atAfter, endAfter: atAfter + added });
    at += removed;
    atAfter += added;
  }
  return changes;
}

function commonEnd<T>(before: readonly T[], after: readonly T[]): number {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start++;
  let length = 0;
  while (length < shorter - start && before[before.length - 1 - length] === after[after.length - 1 - length]) length++;
  return length;
}

/** How many elements were removed and added here; undefined: no agreement within the window. */
function distanceToAgreement<T>(
  before: readonly T[],
  after: readonly T[],
  at: number,
  atAfter: number,
): readonly [removed: number, added: number] | undefined {
  for (let distance = 1; distance <= WINDOW; distance++) {
    if (at + distance < before.length && before[at + distance] === after[atAfter]) return [distance, 0];
    if (atAfter + distance < after.length && before[at] === after[atAfter + distance]) return [0, distance];
    if (at + distance >= before.length || atAfter + distance >= after.length) continue;
    if (before[at + distance] === after[atAfter + distance]) return [distance, distance];
  }
  return undefined;
}
