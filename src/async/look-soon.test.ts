import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LookSoon } from "./look-soon.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function slowLooks(lookMs: number) {
  const starts: number[] = [];
  const looks = new LookSoon(async () => {
    starts.push(Date.now());
    await new Promise((resolve) => setTimeout(resolve, lookMs));
  });
  return { looks, starts };
}

test("news that comes faster than a look takes never leaves more than one look waiting", async () => {
  const { looks, starts } = slowLooks(500);
  for (let ms = 0; ms < 4_900; ms += 10) {
    looks.request(50);
    await vi.advanceTimersByTimeAsync(10);
  }
  const lastNewsAt = Date.now() - 10;
  const before = starts.length;
  expect(before).toBe(9);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(starts.slice(before).length).toBe(1);
  expect(starts.at(-1)).toBeGreaterThanOrEqual(lastNewsAt);
});

test("requests before a look are served by it, and one during it by the next", async () => {
  const { looks, starts } = slowLooks(100);
  looks.request(50);
  looks.request(50);
  await vi.advanceTimersByTimeAsync(60);
  expect(starts).toHaveLength(1);
  looks.request(1_000);
  looks.request(20);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(starts.map((start) => start - (starts[0] ?? 0))).toEqual([0, 120]);
});

test("a look may ask for the next one", async () => {
  let count = 0;
  const looks = new LookSoon(() => {
    if (++count < 3) looks.request(1_000);
    return Promise.resolve();
  });
  looks.request(0);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(count).toBe(3);
});

test("closing waits for the look under way and begins none", async () => {
  const { looks, starts } = slowLooks(100);
  looks.request(0);
  await vi.advanceTimersByTimeAsync(1);
  looks.request(0);
  let isClosed = false;
  const closing = looks[Symbol.asyncDispose]().then(() => (isClosed = true));
  await vi.advanceTimersByTimeAsync(50);
  expect(isClosed).toBe(false);
  await vi.advanceTimersByTimeAsync(50);
  await closing;
  looks.request(0);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(starts).toHaveLength(1);
});
