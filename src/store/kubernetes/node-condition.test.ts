import { describe, expect, it } from "vitest";
import { ConditionPlan, newCondition, type WantedCondition } from "./node-condition.ts";

const up: WantedCondition = { status: "False", reason: "FlannelIsUp", message: "Flannel is running on this node" };
const down: WantedCondition = { status: "True", reason: "FlannelNotReady", message: "no lease" };
const found = (wanted: WantedCondition) => ({ ...wanted, lastTransitionTime: "2026-01-01T00:00:00Z" });

describe("ConditionPlan", () => {
  it("writes a missing condition at once when the network is up, and not again", () => {
    const plan = new ConditionPlan();
    expect(plan.isDue(up, undefined, 0)).toBe(true);
    plan.written(up, 0);
    expect(plan.isDue(up, found(up), 1_000)).toBe(false);
    expect(plan.isDue(up, found(up), 10_000_000)).toBe(false);
  });

  it("says that it is down only when that has lasted, and up at once", () => {
    const plan = new ConditionPlan();
    expect(plan.isDue(down, found(up), 0)).toBe(false);
    expect(plan.isDue(down, found(up), 9_000)).toBe(false);
    expect(plan.isDue(up, found(up), 9_500)).toBe(false);
    expect(plan.isDue(down, found(up), 10_000)).toBe(false);
    expect(plan.isDue(down, found(up), 20_000)).toBe(true);
    plan.written(down, 20_000);
    expect(plan.isDue(up, found(down), 21_000)).toBe(true);
  });

  it.each([
    [0, 3_600_000],
    [0.99, 5_382_000],
  ])("says the same in other words once an hour at most, not all Nodes at once: %d", (random, dueMs) => {
    const plan = new ConditionPlan(() => random);
    expect(plan.isDue(down, found({ ...down, message: "other" }), 0)).toBe(true);
    plan.written(down, 0);
    expect(plan.isDue({ ...down, message: "third" }, found(down), dueMs - 1)).toBe(false);
    expect(plan.isDue({ ...down, message: "third" }, found(down), dueMs)).toBe(true);
  });

  it("contradicts another writer less and less often", () => {
    const plan = new ConditionPlan();
    const times: number[] = [];
    for (let second = 0; second < 4 * 3_600; second++) {
      if (!plan.isDue(up, found(down), second * 1_000)) continue;
      plan.written(up, second * 1_000);
      times.push(second);
    }
    expect(times.slice(0, 4)).toEqual([0, 10, 30, 70]);
    expect(times.length).toBeLessThan(16);
  });
});

it("an unchanged status keeps the time of its change", () => {
  expect(newCondition(up, found({ ...up, message: "old" }), "now").lastTransitionTime).toBe("2026-01-01T00:00:00Z");
  expect(newCondition(up, found(down), "now").lastTransitionTime).toBe("now");
});
