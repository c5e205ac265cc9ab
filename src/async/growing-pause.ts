// The pauses of a back-off: doubled after each failure up to a maximum. Pure.

export interface GrowingPause {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** The pause after so many failures in a row (1 or more), without jitter: firstMs, 2*firstMs, ... maxMs. */
export function pauseAfterMs(failures: number, { firstMs, maxMs }: GrowingPause): number {
  return Math.min(maxMs, firstMs * 2 ** (failures - 1));
}
