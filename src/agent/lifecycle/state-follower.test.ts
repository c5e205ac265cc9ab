import { expect, test } from "vitest";
import { reason, type StateReason } from "./agent-state.ts";
import { HOLD_MS, StateFollower } from "./state-follower.ts";

const ready: StateReason[] = [];
const degraded = [reason("peer-failed", "one peer")];
const notReady = [reason("forwarding-off", "off"), ...degraded];
const lost = [reason("lease-invalid", "expired")];

function start() {
  const clock = { ms: 1_000 };
  const follower = new StateFollower({ monotonicMs: () => clock.ms, wallMs: () => clock.ms + 1e12 });
  /** Looks, after `seconds`. */
  const after = (seconds: number, reasons: readonly StateReason[]) => {
    clock.ms += seconds * 1_000;
    return follower.follow(reasons);
  };
  return { follower, after };
}

test("the way up after a start is reported at once, over degraded too", () => {
  expect(start().after(0, [reason("starting", "starting")]).state).toBe("notReady");
  expect(start().after(1, ready)).toEqual({ state: "ready", changedAtMs: 1e12 + 2_000 });
  const { after } = start();
  expect(after(1, degraded).state).toBe("degraded");
  // Peers are often still being programmed when the state is first looked at.
  expect(after(0.1, ready).state).toBe("ready");
  expect(after(1, degraded)).toMatchObject({ state: "ready", pendingState: "degraded" });
});

test("what gets worse before the agent was ready is held, too", () => {
  const { after } = start();
  after(1, degraded);
  expect(after(1, notReady)).toMatchObject({ state: "degraded", pendingState: "notReady" });
  expect(after(10, notReady).state).toBe("notReady");
  expect(after(1, ready).state).toBe("ready");
});

test("every later change has to last 10 s", () => {
  const { after } = start();
  after(0, ready);
  expect(after(1, notReady)).toMatchObject({ state: "ready", pendingState: "notReady" });
  expect(after(9.9, notReady).state).toBe("ready");
  expect(after(0.1, notReady)).toEqual({ state: "notReady", changedAtMs: 1e12 + 12_000 });
  expect(after(1, ready)).toMatchObject({ state: "notReady", pendingState: "ready" });
  expect(after(HOLD_MS / 1_000, ready)).toEqual({ state: "ready", changedAtMs: 1e12 + 23_000 });
});

test("flapping is not reported, and the clock restarts with each blip", () => {
  const { after } = start();
  after(0, ready);
  for (let second = 0; second < 60; second += 5) {
    expect(after(3, notReady).state).toBe("ready");
    expect(after(2, ready)).toMatchObject({ state: "ready" });
  }
});

test("between two bad states what has lasted counts: at least degraded", () => {
  const { after } = start();
  after(0, ready);
  for (const [index, reasons] of [degraded, notReady, degraded, notReady].entries()) {
    expect(after(index === 0 ? 1 : 3, reasons).state).toBe("ready");
  }
  expect(after(3, degraded).state).toBe("degraded");
});

test("on the way back it is the best that has lasted", () => {
  const { after } = start();
  after(0, lost);
  after(0, ready);
  after(1, lost);
  for (const reasons of [degraded, ready, degraded, ready]) expect(after(3, reasons).state).toBe("notReady");
  expect(after(3, degraded).state).toBe("degraded");
});

test("a lost lease is reported at once; the way back is held", () => {
  const { after } = start();
  after(0, ready);
  expect(after(1, lost).state).toBe("notReady");
  expect(after(1, ready)).toMatchObject({ state: "notReady", pendingState: "ready" });
  expect(after(10, ready).state).toBe("ready");
});

test("an agent that restarts is as one that starts", () => {
  const { follower, after } = start();
  after(0, ready);
  after(1, [reason("no-lease", "no lease yet")]);
  follower.restart();
  expect(after(1, ready).state).toBe("ready");
});
