import { expect, test } from "vitest";
import { BackOff } from "./back-off.ts";
import { pauseAfterMs } from "./growing-pause.ts";

test("doubles up to its maximum, jittered by half, and starts over", () => {
  const longest = new BackOff({ firstMs: 100, maxMs: 5_000, random: () => 1 });
  expect(Array.from({ length: 8 }, () => longest.nextMs())).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
  longest.reset();
  expect(longest.nextMs()).toBe(100);
  const shortest = new BackOff({ firstMs: 100, maxMs: 5_000, random: () => 0 });
  expect([shortest.nextMs(), shortest.nextMs()]).toEqual([50, 100]);
});

test("without jitter the pauses are exact, also after more failures than a number can double", () => {
  const options = { firstMs: 50, maxMs: 60_000, jitter: 0, random: () => 0 };
  const backOff = new BackOff(options);
  expect([backOff.nextMs(), backOff.nextMs(), backOff.nextMs()]).toEqual([50, 100, 200]);
  expect([1, 2, 11, 12, 1e9].map((failures) => pauseAfterMs(failures, options))).toEqual([
    50, 100, 51_200, 60_000, 60_000,
  ]);
});

test("a wait ends at once when cancelled", async () => {
  const waiting = new BackOff({ firstMs: 60_000, maxMs: 60_000 }).wait(AbortSignal.timeout(1));
  await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
});
