import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FAULT_REPEAT_MS, ReconcileLoop } from "./reconcile-loop.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Passes of `passMs` each; `starts` are their times since the first. */
function slowLoop(passMs: number) {
  const starts: number[] = [];
  const loop = new ReconcileLoop({
    debounceMs: 50,
    pass: async () => {
      starts.push(Date.now());
      await sleep(passMs);
      return { result: undefined };
    },
  });
  const sinceFirst = () => starts.map((start) => start - (starts[0] ?? 0));
  return { loop, starts, sinceFirst };
}

test("nothing passes before something is desired, however much is asked for", async () => {
  const { loop, starts } = slowLoop(10);
  loop.passSoon();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(starts).toHaveLength(0);
  await Promise.all([loop.passNow(), vi.advanceTimersByTimeAsync(20)]);
  expect(starts).toHaveLength(1);
});

test("requests that come faster than a pass takes never leave more than one pass waiting", async () => {
  const { loop, starts } = slowLoop(500);
  loop.queuePass();
  for (let ms = 0; ms < 4_900; ms += 10) {
    loop.passSoon();
    loop.queuePass();
    await vi.advanceTimersByTimeAsync(10);
  }
  const lastRequestAt = Date.now() - 10;
  const before = starts.length;
  expect(before).toBe(10);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(starts.slice(before)).toHaveLength(1);
  expect(starts.at(-1)).toBeGreaterThanOrEqual(lastRequestAt);
});

test("the debounce runs from the first request, and a pass under way does not serve what came during it", async () => {
  const { loop, sinceFirst } = slowLoop(100);
  loop.queuePass();
  await vi.advanceTimersByTimeAsync(10);
  loop.passSoon();
  loop.passSoon(1_000);
  await vi.advanceTimersByTimeAsync(200);
  loop.passSoon(20);
  loop.passSoon();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(sinceFirst()).toEqual([0, 100, 230]);
});

test("a pass is repeated when it says so, or sooner when asked for", async () => {
  const starts: number[] = [];
  const loop = new ReconcileLoop({
    debounceMs: 10,
    pass: () => {
      starts.push(Date.now());
      return Promise.resolve({ result: undefined, repeatInMs: starts.length < 4 ? 1_000 : undefined });
    },
  });
  await loop.passNow();
  await vi.advanceTimersByTimeAsync(1_500);
  loop.passSoon();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(starts.map((start) => start - (starts[0] ?? 0))).toEqual([0, 1_000, 1_510, 2_510]);
});

test("who asks gets the result of a pass that began afterwards, early when the pass hands it out", async () => {
  let count = 0;
  const loop = new ReconcileLoop<number>({
    debounceMs: 10,
    pass: async (settle) => {
      const result = ++count;
      await sleep(100);
      if (result === 2) settle(20);
      await sleep(100);
      return { result };
    },
  });
  const results: [number, number][] = [];
  const startMs = Date.now();
  const ask = async () => {
    const result = await loop.passNow();
    results.push([result, Date.now() - startMs]);
  };
  const first = ask();
  await vi.advanceTimersByTimeAsync(10);
  const others = [ask(), ask()];
  await vi.advanceTimersByTimeAsync(10_000);
  await Promise.all([first, ...others]);
  expect(results).toEqual([
    [1, 200],
    [20, 300],
    [20, 300],
  ]);
});

test("events during a look are judged after it, in their order, and none before something is desired", async () => {
  const judged: string[] = [];
  const loop = new ReconcileLoop<void, string>({
    debounceMs: 10,
    onEvent: (event) => judged.push(event),
    pass: async () => {
      await loop.holdBackDuring(() => sleep(100));
      judged.push("looked");
      return { result: undefined };
    },
  });
  loop.receive("too early");
  loop.queuePass();
  await vi.advanceTimersByTimeAsync(50);
  loop.receive("a");
  loop.receive("b");
  await vi.advanceTimersByTimeAsync(100);
  loop.receive("c");
  expect(judged).toEqual(["a", "b", "looked", "c"]);
});

test("tasks take turns with passes, and one that fails does not stop those behind it", async () => {
  const { loop, starts } = slowLoop(100);
  loop.queuePass();
  const outcomes = Promise.allSettled([
    loop.inTurn(async () => {
      await sleep(0);
      throw new Error("no");
    }),
    loop.inTurn(async () => {
      await sleep(0);
      return starts.length;
    }),
  ]);
  await vi.advanceTimersByTimeAsync(1);
  loop.queuePass();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(await outcomes).toMatchObject([{ status: "rejected" }, { status: "fulfilled", value: 1 }]);
  expect(starts).toHaveLength(2);
});

test("audits come until the loop is closed", async () => {
  let audits = 0;
  const { loop } = slowLoop(1);
  loop.startAudits(1_000, () => audits++);
  await vi.advanceTimersByTimeAsync(3_500);
  await loop[Symbol.asyncDispose]();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(audits).toBe(3);
});

test("closing waits for the pass under way and begins none; who still waits gets an answer", async () => {
  const stopped: boolean[] = [];
  const loop = new ReconcileLoop({
    debounceMs: 10,
    pass: async () => {
      stopped.push(loop.isStopped);
      if (!loop.isStopped) await sleep(100);
      return { result: undefined, repeatInMs: 1 };
    },
  });
  loop.queuePass();
  await vi.advanceTimersByTimeAsync(1);
  const waiting = loop.passNow();
  loop.passSoon();
  let isClosed = false;
  const closing = loop[Symbol.asyncDispose]().then(() => (isClosed = true));
  await vi.advanceTimersByTimeAsync(50);
  expect(isClosed).toBe(false);
  await vi.advanceTimersByTimeAsync(50);
  await closing;
  await waiting;
  loop.passSoon();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(stopped).toEqual([false, true]);
  await loop.passNow();
});

test("a signal stops it like closing", async () => {
  const abort = new AbortController();
  let passes = 0;
  const loop = new ReconcileLoop({
    debounceMs: 10,
    signal: abort.signal,
    pass: () => {
      if (!loop.isStopped) passes++;
      return Promise.resolve({ result: undefined, repeatInMs: 100 });
    },
  });
  await loop.passNow();
  abort.abort();
  loop.passSoon();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(passes).toBe(1);
});

test("a pass that rejects is warned of and repeated, and who waits gets the next one's result", async () => {
  const warnings: string[] = [];
  vi.spyOn(process, "emitWarning").mockImplementation((warning) => void warnings.push(String(warning)));
  let passes = 0;
  const loop = new ReconcileLoop<number>({
    debounceMs: 10,
    pass: async () => {
      passes++;
      if (passes === 1) throw new Error("no descriptor left");
      return { result: passes };
    },
  });
  const result = loop.passNow();
  await vi.advanceTimersByTimeAsync(FAULT_REPEAT_MS + 10);
  expect(await result).toBe(2);
  expect(warnings).toEqual(["Error: no descriptor left"]);
  await loop[Symbol.asyncDispose]();
});

test("who waits for a pass that fails is not left waiting when the loop is closed, before the repetition or by it", async () => {
  vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  const failing = () =>
    new ReconcileLoop<number>({ debounceMs: 10, pass: () => Promise.reject(new Error("no descriptor left")) });
  const early = failing();
  const waited = expect(early.passNow()).rejects.toThrow("no descriptor left");
  await early[Symbol.asyncDispose]();
  await waited;
  const late = failing();
  const waitedLonger = expect(late.passNow()).rejects.toThrow("no descriptor left");
  await vi.advanceTimersByTimeAsync(FAULT_REPEAT_MS / 2);
  await late[Symbol.asyncDispose]();
  await waitedLonger;
});
