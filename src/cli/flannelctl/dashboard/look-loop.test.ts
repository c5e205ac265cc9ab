import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Board } from "./board.ts";
import { type LookLoop, runLoop, SourceStates } from "./look-loop.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: 0 });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Looks once for each step, then ends; returns what the board says of the source after each. */
async function lookThrough(steps: readonly ("read" | "not due" | "fails")[], board: Board, states: SourceStates) {
  const stop = new AbortController();
  const shown: unknown[] = [];
  let at = 0;
  const look: LookLoop["look"] = async (_signal, markRead) => {
    const step = steps[at++];
    vi.setSystemTime(Date.now() + 1_000);
    if (at > steps.length) stop.abort();
    if (at > 1) shown.push(sourceOf(board));
    if (step === "read") markRead();
    if (step === "fails") {
      // What failed is looked at after seconds: here that is the end.
      setImmediate(() => {
        shown.push(sourceOf(board));
        stop.abort();
      });
      throw new Error("no answer");
    }
    return 0;
  };
  await runLoop({ source: "store", look }, states, stop.signal);
  return shown;
}

function sourceOf(board: Board): unknown {
  const { items = [] } = JSON.parse(board.since(0)?.text ?? "{}") as { items?: unknown[][] };
  return items.find(([kind]) => kind === "source")?.[3];
}

test("a look that was not due leaves a source as it was, and nothing is sent", async () => {
  const board = new Board();
  const states = new SourceStates(board);
  const [first, ...others] = await lookThrough(["read", "not due", "not due"], board, states);
  expect(first).toEqual({ readAt: expect.any(String) });
  expect(others).toEqual([first, first]);
  expect(board.since(0)?.version).toBe(1);
});

test("a source that fails says when it was read last, also by an earlier run of its loop", async () => {
  const board = new Board();
  const states = new SourceStates(board);
  const [read] = await lookThrough(["read"], board, states);
  expect(await lookThrough(["not due"], board, states)).toEqual([read]);
  expect(await lookThrough(["fails"], board, states)).toEqual([{ ...(read as object), problem: "no answer" }]);
});
