// What tests of healing have in common: how long a damage may last.
import { expect } from "vitest";

/** One second is promised. A test demands ten times as much: it runs beside others. */
const HEALED_WITHIN_MS = 10_000;

/** Prints how long it took, by `performance.now()` of the damage, and fails when that was too long. */
export function expectHealed(what: string, damagedMs: number): void {
  const tookMs = performance.now() - damagedMs;
  console.log(`${what}: healed after ${tookMs.toFixed(0)} ms`);
  expect(tookMs).toBeLessThan(HEALED_WITHIN_MS);
}
