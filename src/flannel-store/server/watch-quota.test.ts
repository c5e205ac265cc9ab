// Watches are counted by caller; connections that have ended are not kept.
import { expect, it } from "vitest";
import { type Account, MemoryBudget } from "../grpc/memory-budget.ts";
import { WatchQuota } from "./watch-quota.ts";

it("does not close connections that have no watch of the caller any more, however often it came back", () => {
  using budget = new MemoryBudget(64 * 1024 * 1024);
  const quota = new WatchQuota(budget);
  const evicted: number[] = [];
  const accounts: Account[] = [];
  const connect = (number: number) => {
    const account = budget.open(() => void evicted.push(number));
    accounts.push(account);
    return account;
  };
  // One caller whose agents come back again and again, and of whom one watch always stands.
  const standing = quota.admit("all", connect(0), 0);
  for (let number = 1; number <= 100; number++) quota.admit("all", connect(number), 0)?.[Symbol.dispose]();
  // Many others, until the one with the most has to give way.
  quota.admit("all", accounts[0]!, 1_900_000);
  for (let caller = 0; caller < 8; caller++) quota.admit(caller, connect(1_000 + caller), 1_850_000);
  expect(quota.admit("small", connect(2_000), 400_000)).toBeDefined();
  expect(evicted).toEqual([0]);
  standing?.[Symbol.dispose]();
});
