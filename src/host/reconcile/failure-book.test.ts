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

test("a new chance makes failures due, but not those we fight over", () => {
  const book = new FailureBook();
  book.fail(slot, "ENETDOWN", 0);
  for (let i = 0; i <= 10; i++) book.admitRepair(other, 0);
  book.retryAll();
  expect(book.isWaiting(slot, 1)).toBe(false);
  expect(book.isWaiting(other, 1)).toBe(true);
  expect(book.isContested(other)).toBe(true);
});

test("ten repairs a minute are made at once, then with growing rests, until a minute is quiet", () => {
  const book = new FailureBook();
  const admitted = Array.from({ length: 12 }, (_, i) => book.admitRepair(slot, i));
  expect(admitted).toEqual([...new Array<boolean>(10).fill(true), false, false]);
  expect(book.nextAttemptMs()).toBe(11 + 2_000);
  expect(book.admitRepair(slot, 200_000)).toBe(true);
});

test("counts of repairs are forgotten after their minute", () => {
  const book = new FailureBook();
  for (let i = 0; i < 10; i++) book.admitRepair(slot, 0);
  book.sweep(60_000);
  expect(book.admitRepair(slot, 60_000)).toBe(false);
  book.succeed(slot);
  book.sweep(120_001);
  expect(book.admitRepair(slot, 120_001)).toBe(true);
});
