// Waiting on conditions, never on time: a test says what must become true and by when.
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Of everything that is waited for, unless the test says why it is another one. Long, since it is only there to end what
 * hangs: on a busy machine what takes a quarter of a second was seen to wait 8 s for a processor. How long something may
 * take is measured by benchmarks. A second kernel on a busy machine is slower still.
 */
export const DEADLINE_MS = process.env["LAB_SECOND_KERNEL"] === "1" ? 300_000 : 60_000;

/** A look that goes on without a pause would keep a second kernel from what is waited for. */
const INTERVAL_MS = process.env["LAB_SECOND_KERNEL"] === "1" ? 200 : 20;

export interface WaitOptions {
  /** Said in the error: "timed out after 10000 ms waiting for <what>". */
  readonly what: string;
  /** Default `DEADLINE_MS`. */
  readonly timeoutMs?: number;
  /** Between two looks. Default 20 ms, on a second kernel 200. */
  readonly intervalMs?: number;
}

/**
 * Calls `look` until it gives something other than `undefined` or `false`, and gives that back. A throwing `look`
 * counts as "not yet"; the last error or value stands in the message of the final error.
 */
export async function until<T>(
  look: () => T | undefined | false | Promise<T | undefined | false>,
  options: WaitOptions,
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? DEADLINE_MS;
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await look();
      if (value !== undefined && value !== false) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= deadline) break;
    await sleep(options.intervalMs ?? INTERVAL_MS);
  }
  const seen = last instanceof Error ? last.message : String(last);
  throw new Error(`timed out after ${timeoutMs} ms waiting for ${options.what}; last: ${seen}`, { cause: last });
}

/**
 * Waits until `look` gives exactly the lines `expected` (as sets: order does not matter). The error shows which
 * lines are missing and which are too many.
 */
export async function untilLines(
  look: () => Promise<readonly string[]>,
  expected: readonly string[],
  options: WaitOptions,
): Promise<void> {
  await until(async () => {
    const seen = await look();
    const missing = expected.filter((line) => !seen.includes(line)).map((line) => `\n- ${line}`);
    const surplus = seen.filter((line) => !expected.includes(line)).map((line) => `\n+ ${line}`);
    if (missing.length + surplus.length === 0) return true;
    throw new Error(`the lines differ (- missing, + too many):${missing.join("")}${surplus.join("")}`);
  }, options);
}
