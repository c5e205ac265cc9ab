import { expect, it } from "vitest";
import { RequestBudget } from "./request-budget.ts";

const never = new AbortController().signal;

it("lets forty requests out at once, then five a second", async () => {
  const budget = new RequestBudget();
  const startedMs = performance.now();
  for (let request = 0; request < 50; request++) await budget.take(never);
  // Ten more than the forty; the clock of timers is coarser than this one.
  expect(performance.now() - startedMs).toBeGreaterThan(1_950);
});

it("ends a wait with its signal", async () => {
  const budget = new RequestBudget();
  for (let request = 0; request < 40; request++) await budget.take(never);
  await expect(budget.take(AbortSignal.timeout(10))).rejects.toThrow();
  await expect(budget.take(AbortSignal.abort())).rejects.toThrow();
});
