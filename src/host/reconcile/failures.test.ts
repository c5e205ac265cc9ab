import { expect, test } from "vitest";
import type { Slot } from "../kinds/kind.ts";
import { sysctlKind } from "../kinds/sysctl.ts";
import { Failures } from "./failures.ts";

const slot: Slot = { kind: sysctlKind, key: "a", desired: undefined, observed: undefined };
const other: Slot = { kind: sysctlKind, key: "b", desired: undefined, observed: undefined };

test("attempts are spaced from 200 ms to 30 s and start over after success", () => {
  const failures = new Failures();
  const delays = Array.from({ length: 10 }, () => {
    failures.fail(slot, "EPERM", 1_000);
    return (failures.nextAttemptMs() ?? 0) - 1_000;
  });
  expect(delays).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
  expect(failures.isWaiting(slot, 30_999)).toBe(true);
  expect(failures.isWaiting(slot, 31_000)).toBe(false);
  failures.succeed(slot);
  expect([failures.size, failures.nextAttemptMs(), failures.attemptsOf(slot)]).toEqual([0, undefined, 0]);
});

test("a new chance makes failures due, but not those that wait for their rate", () => {
  const failures = new Failures();
  failures.fail(slot, "ENETDOWN", 0);
  for (let i = 0; i <= 10; i++) failures.admitRepair(other, 0);
  failures.retryAll();
  expect(failures.isWaiting(slot, 1)).toBe(false);
  expect(failures.isWaiting(other, 1)).toBe(true);
  expect(failures.isContested(other)).toBe(true);
});

test("ten repairs of one object are made in any second, the others when their time has come", () => {
  const failures = new Failures();
  const admitted = Array.from({ length: 12 }, (_, i) => failures.admitRepair(slot, i));
  expect(admitted).toEqual([...new Array<boolean>(10).fill(true), false, false]);
  expect(failures.nextAttemptMs()).toBe(1_001);
  expect([failures.isWaiting(slot, 1_000), failures.isWaiting(slot, 1_001)]).toEqual([true, false]);
});

test("an object that is changed every 100 ms is repaired each time, for as long as it takes", () => {
  const failures = new Failures();
  for (let nowMs = 0; nowMs < 600_000; nowMs += 100) expect(failures.admitRepair(slot, nowMs)).toBe(true);
});

test("a refusal after a repair that waited counts as the first", () => {
  const failures = new Failures();
  for (let i = 0; i <= 10; i++) failures.admitRepair(slot, 0);
  failures.fail(slot, "EPERM", 1_000);
  expect([failures.attemptsOf(slot), failures.nextAttemptMs()]).toEqual([1, 1_200]);
});

test("five hundred repeated repairs are made in any second, and every first one at once", () => {
  const failures = new Failures();
  const slots = Array.from({ length: 1_200 }, (_, i): Slot => ({ ...slot, key: `${i}` }));
  const admit = (nowMs: number): number => slots.filter((each) => failures.admitRepair(each, nowMs)).length;
  expect(admit(0)).toBe(1_200);
  expect(admit(5_000)).toBe(500);
  const due = (nowMs: number): number => slots.filter((each) => !failures.isWaiting(each, nowMs)).length;
  expect([5_999, 6_000, 7_000].map(due)).toEqual([500, 1_000, 1_200]);
});

test("counts of repairs are forgotten after a quiet minute", () => {
  const failures = new Failures();
  for (let i = 0; i < 10; i++) failures.admitRepair(slot, 0);
  failures.sweep(60_000);
  expect(failures.admitRepair(slot, 1)).toBe(false);
  failures.succeed(slot);
  failures.sweep(61_001);
  expect(failures.admitRepair(slot, 500)).toBe(true);
});
