import { expect, test } from "vitest";
import type { Slot } from "../kinds/kind.ts";
import { sysctlKind } from "../kinds/sysctl.ts";
import { FailureBook } from "./failure-book.ts";

const slot: Slot = { kind: sysctlKind, key: "a", desired: undefined, observed: undefined };
const other: Slot = { kind: sysctlKind, key: "b", desired: undefined, observed: undefined };

test("attempts are spaced from 200 ms to 30 s and start over after success", () => {
  const book = new FailureBook();
  const delays = Array.from({ length: 10 }, () => {
    book.fail(slot, "EPERM", 1_000);
    return (book.nextAttemptMs() ?? 0) - 1_000;
  });
  expect(delays).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
  expect(book.isWaiting(slot, 30_999)).toBe(true);
  expect(book.isWaiting(slot, 31_000)).toBe(false);
  book.succeed(slot);
  expect([book.size, book.nextAttemptMs(), book.attemptsOf(slot)]).toEqual([0, undefined, 0]);
});

test("a new chance makes failures due, but not those that wait for their rate", () => {
  const book = new FailureBook();
  book.fail(slot, "ENETDOWN", 0);
  for (let i = 0; i <= 10; i++) book.admitRepair(other, 0);
  book.retryAll();
  expect(book.isWaiting(slot, 1)).toBe(false);
  expect(book.isWaiting(other, 1)).toBe(true);
  expect(book.isContested(other)).toBe(true);
});

test("ten repairs of one object are made in any second, the others when their time has come", () => {
  const book = new FailureBook();
  const admitted = Array.from({ length: 12 }, (_, i) => book.admitRepair(slot, i));
  expect(admitted).toEqual([...new Array<boolean>(10).fill(true), false, false]);
  expect(book.nextAttemptMs()).toBe(1_001);
  expect([book.isWaiting(slot, 1_000), book.isWaiting(slot, 1_001)]).toEqual([true, false]);
});

test("an object that is changed every 100 ms is repaired each time, for as long as it takes", () => {
  const book = new FailureBook();
  for (let nowMs = 0; nowMs < 600_000; nowMs += 100) expect(book.admitRepair(slot, nowMs)).toBe(true);
});

test("a refusal after a repair that waited counts as the first", () => {
  const book = new FailureBook();
  for (let i = 0; i <= 10; i++) book.admitRepair(slot, 0);
  book.fail(slot, "EPERM", 1_000);
  expect([book.attemptsOf(slot), book.nextAttemptMs()]).toEqual([1, 1_200]);
});

test("five hundred repeated repairs are made in any second, and every first one at once", () => {
  const book = new FailureBook();
  const slots = Array.from({ length: 1_200 }, (_, i): Slot => ({ ...slot, key: `${i}` }));
  const admit = (nowMs: number): number => slots.filter((each) => book.admitRepair(each, nowMs)).length;
  expect(admit(0)).toBe(1_200);
  expect(admit(5_000)).toBe(500);
  const due = (nowMs: number): number => slots.filter((each) => !book.isWaiting(each, nowMs)).length;
  expect([5_999, 6_000, 7_000].map(due)).toEqual([500, 1_000, 1_200]);
});

test("counts of repairs are forgotten after a quiet minute", () => {
  const book = new FailureBook();
  for (let i = 0; i < 10; i++) book.admitRepair(slot, 0);
  book.sweep(60_000);
  expect(book.admitRepair(slot, 1)).toBe(false);
  book.succeed(slot);
  book.sweep(61_001);
  expect(book.admitRepair(slot, 500)).toBe(true);
});
