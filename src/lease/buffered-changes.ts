// Puts a buffer between who follows a store's leases and who reads them: the frame of `SubnetStore.watch`.
import type { LeaseChange } from "./lease.ts";
import { LeaseChangeBuffer } from "./lease-change-buffer.ts";

/**
 * Runs `fill`, which writes into the buffer until its signal aborts, for as long as it is read. Ends when `signal` aborts
 * or `fill` ends; rejects with what `fill` rejects with.
 */
export async function* bufferedChanges(
  fill: (buffer: LeaseChangeBuffer, signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): AsyncGenerator<LeaseChange, void, undefined> {
  const left = new AbortController();
  const inner = AbortSignal.any([signal, left.signal]);
  const buffer = new LeaseChangeBuffer();
  const filling = fill(buffer, inner).finally(() => left.abort());
  // A failure is reported below, which may be later than Node would wait for.
  filling.catch(() => undefined);
  try {
    for (;;) {
      const change = await buffer.take(inner);
      if (change === undefined) return;
      yield change;
    }
  } finally {
    left.abort();
    await filling;
  }
}
