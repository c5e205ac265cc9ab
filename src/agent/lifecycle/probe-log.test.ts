import { expect, test } from "vitest";
import { recordingLogger } from "../../../test/support/host-fixture.ts";
import { worldPath } from "../../../test/support/probe-world.ts";
import { type PathState, ProbedPath } from "../../probe/probed-path.ts";
import { ProbeLog } from "./probe-log.ts";

/** The events of a path that has these states one after the other, each for long enough to be told. */
function eventsOf(...states: readonly PathState[]): readonly string[] {
  const { logger, lines } = recordingLogger();
  using log = new ProbeLog(logger, { monotonicMs: () => 0 });
  const path = new ProbedPath(worldPath(1), 0, 0);
  for (const state of states) {
    const from = path.state;
    path.state = state;
    log.follow({ path, from });
    log.flush();
  }
  return lines.map(({ event }) => event);
}

test("a peer that answers again is told after each line that said that it does not", () => {
  expect(eventsOf("up", "suspect", "down", "up")).toEqual(["probe.peer-down", "probe.peer-up"]);
  expect(eventsOf("up", "down", "unknown", "up")).toEqual(["probe.peer-down", "probe.peer-unknown", "probe.peer-up"]);
  expect(eventsOf("up", "unknown", "up")).toEqual(["probe.peer-unknown", "probe.peer-up"]);
});

test("that a new peer answers is no news", () => {
  expect(eventsOf("up", "suspect", "up")).toEqual([]);
});

test("a peer that keeps changing has few lines, and the last one says that it answers", () => {
  const changes = Array.from({ length: 20 }, (): readonly PathState[] => ["down", "unknown", "up"]).flat();
  const [down, unknown, up] = ["probe.peer-down", "probe.peer-unknown", "probe.peer-up"];
  expect(eventsOf("up", ...changes)).toEqual([down, unknown, up, down, up]);
  const slow = "probe.peer-slow";
  expect(eventsOf("up", "down", "unknown", "up", "down", "slow", "up", "slow")).toEqual([
    down,
    unknown,
    up,
    down,
    slow,
    up,
  ]);
});
