// Finds the known word a person most likely meant. Pure.

/** Key as Go's JSON decoder compares it: case-insensitively, with U+017F and U+212A folding to s and k. */
export function foldKey(key: string): string {
  return key.toLowerCase().replaceAll("\u017f", "s");
}

/** The candidate closest to `word`, ignoring case, `-` and `_`; undefined when none is close enough to be a typo. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const plain = simplify(word);
  if (plain.length > 64) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(plain.length / 3)) + 1;
  for (const candidate of candidates) {
    const target = simplify(candidate);
    const distance = editDistance(plain, target);
    // A distance as long as the word itself would make any short word a typo of any other.
    if (distance < bestDistance && distance < target.length) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** ` (did you mean X?)`, or nothing. */
export function didYouMean(word: string, candidates: Iterable<string>, prefix = ""): string {
  const match = nearest(word, candidates);
  return match === undefined ? "" : ` (did you mean ${prefix}${match}?)`;
}

function simplify(word: string): string {
  return foldKey(word).replaceAll(/[-_]/g, "");
}

/** Number of insertions, deletions, replacements and swaps of neighbouring letters. */
function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(replaced, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforePrevious[j - 2] ?? 0) + 1);
      }
      current.push(cost);
    }
    [beforePrevious, previous] = [previous, current];
  }
  return previous[b.length] ?? 0;
}
