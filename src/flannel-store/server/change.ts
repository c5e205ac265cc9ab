// One change of one key, as the history keeps it and watchers receive it.

export interface Change {
  readonly key: Uint8Array;
  readonly revision: bigint;
  /** See key-value-frames.ts; undefined: the key was deleted. */
  readonly frame: Uint8Array | undefined;
}

/** Changes of one revision are distinguished by the lower bits of their number: this many at most. */
export const MAX_CHANGES_PER_REVISION = 2 ** 22;
const SUB_BITS = 22n;

/** Where a change stands among all changes: by revision, and in one revision in the order in which they were made. */
export function changeNumber(revision: bigint, sub: number): bigint {
  return (revision << SUB_BITS) | BigInt(sub);
}

/** The first number that a change at `revision` or later can have; the largest possible one where that is beyond. */
export function firstChangeNumber(revision: bigint): bigint {
  return revision > MAX_REVISION ? (MAX_REVISION << SUB_BITS) + 1n : revision << SUB_BITS;
}

export function revisionOf(number: bigint): bigint {
  return number >> SUB_BITS;
}

/** Three centuries of two hundred writes a second. */
const MAX_REVISION = 2n ** 41n - 1n;
