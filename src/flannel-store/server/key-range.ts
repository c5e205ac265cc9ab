// Ranges of keys as etcd writes them on the wire: `key` alone, `[key, rangeEnd)`, or everything from `key` on. Pure.

/** Keys from `start` up to, not including, `end`; without `end` there is no upper bound. */
export interface KeyRange {
  readonly start: Uint8Array;
  readonly end?: Uint8Array;
}

/** The one key and nothing else. */
export function singleKey(key: Uint8Array): KeyRange {
  const end = new Uint8Array(key.length + 1);
  end.set(key);
  return { start: key, end };
}

/** `rangeEnd` empty: the one key; a single zero byte: everything from `key` on. */
export function rangeFromWire(key: Uint8Array, rangeEnd: Uint8Array): KeyRange {
  if (rangeEnd.length === 0) return singleKey(key);
  if (rangeEnd.length === 1 && rangeEnd[0] === 0) return { start: key };
  return { start: key, end: rangeEnd };
}

export function isInRange(key: Uint8Array, { start, end }: KeyRange): boolean {
  return Buffer.compare(key, start) >= 0 && (end === undefined || Buffer.compare(key, end) < 0);
}
