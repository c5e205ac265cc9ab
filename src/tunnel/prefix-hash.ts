// A hash table of fixed-size keys in an Int32Array: open addressing, at most half full, written once. Pure.

export interface HashEntry {
  readonly key: readonly number[];
  /** Not negative. */
  readonly value: number;
}

/** Before the entries: capacity minus one. */
export const HASH_HEADER_WORDS = 1;
const EMPTY = -1;

/** Words `count` entries need, without the header. */
export function hashWords(count: number, keyWords: number): number {
  return capacityOf(count) * (keyWords + 1);
}

/** Writes the table at `start`. Of entries with equal keys the first stays. */
export function buildHash(words: Int32Array, start: number, entries: readonly HashEntry[], keyWords: number): void {
  const mask = capacityOf(entries.length) - 1;
  const stride = keyWords + 1;
  const first = start + HASH_HEADER_WORDS;
  words[start] = mask;
  for (let index = 0; index <= mask; index++) words[first + index * stride + keyWords] = EMPTY;
  for (const { key, value } of entries) {
    let index = hashOf(key, keyWords) & mask;
    while (words[first + index * stride + keyWords] !== EMPTY) {
      if (isEqual(words, first + index * stride, key, keyWords)) break;
      index = (index + 1) & mask;
    }
    const at = first + index * stride;
    if (words[at + keyWords] !== EMPTY) continue;
    for (let word = 0; word < keyWords; word++) words[at + word] = key[word] ?? 0;
    words[at + keyWords] = value;
  }
}

/** The value of `key` in the table at `start`, or -1. */
export function findInHash(words: Int32Array, start: number, key: Int32Array, keyWords: number): number {
  const mask = words[start] ?? 0;
  const stride = keyWords + 1;
  let index = hashOf(key, keyWords) & mask;
  for (;;) {
    const at = start + HASH_HEADER_WORDS + index * stride;
    const value = words[at + keyWords] ?? EMPTY;
    if (value === EMPTY || isEqual(words, at, key, keyWords)) return value;
    index = (index + 1) & mask;
  }
}

function isEqual(words: Int32Array, at: number, key: ArrayLike<number>, keyWords: number): boolean {
  for (let word = 0; word < keyWords; word++) if (words[at + word] !== key[word]) return false;
  return true;
}

/** The finalisers of MurmurHash3, word by word. */
function hashOf(key: ArrayLike<number>, keyWords: number): number {
  let hash = 0;
  for (let word = 0; word < keyWords; word++) {
    hash = Math.imul(hash ^ (key[word] ?? 0), 0x85eb_ca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
    hash ^= hash >>> 16;
  }
  return hash >>> 0;
}

/** A power of two with at least one place free in two. */
function capacityOf(count: number): number {
  let capacity = 2;
  while (capacity < count * 2) capacity *= 2;
  return capacity;
}
