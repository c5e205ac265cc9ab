// Counting the bytes of clients: what a closed connection held is free, whenever it is still counted for.
import { expect, it, vi } from "vitest";
import { CONNECTION_WINDOW_BYTES, MemoryBudget } from "./memory-budget.ts";

const MIB = 1024 * 1024;

it("counts nothing for a connection that is closed, so that room can be made for ever", () => {
  vi.useFakeTimers();
  using budget = new MemoryBudget(8 * MIB);
  const gone = budget.open(() => undefined);
  gone.close();
  // As a call does whose answer came after its client had gone.
  gone.pause("a stream");
  const late = gone.add(6 * MIB);
  gone.grow(late, MIB);
  expect(gone.heldBytes).toBe(0);
  vi.advanceTimersByTime(1_000); // what would be there would be old by now
  const other = budget.open(() => undefined);
  const taken = other.take(8 * MIB);
  expect(other.heldBytes).toBe(8 * MIB);
  late.release();
  gone.unpause("a stream");
  taken.release();
  expect(budget.hasRoom(other, 8 * MIB, "request")).toBe(true);
  vi.useRealTimers();
});

it("counts what a client may send on a connection once, however many of its streams are paused", () => {
  using budget = new MemoryBudget(8 * MIB);
  const account = budget.open(() => undefined);
  for (const stream of ["a", "b", "a"]) account.pause(stream);
  expect(account.heldBytes).toBe(CONNECTION_WINDOW_BYTES);
  account.unpause("a");
  account.unpause("a");
  expect(account.heldBytes).toBe(CONNECTION_WINDOW_BYTES);
  account.unpause("b");
  expect(account.heldBytes).toBe(0);
});
