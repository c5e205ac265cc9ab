import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Finding } from "../../doctor/finding.ts";
import { silentLogger } from "../../telemetry/logger.ts";
import { DropWatch } from "./drop-watch.ts";

const drop: Finding = { name: "forward-policy", severity: "warning", evidence: "x drops", remedy: "accept" };

test("looks at the first tick and then once a minute, one look at a time", async () => {
  let nowMs = 0;
  let looks = 0;
  const watch = new DropWatch(
    () => {
      looks++;
      return Promise.resolve(looks === 1 ? [drop] : []);
    },
    silentLogger,
    () => nowMs,
  );
  watch.tick();
  watch.tick();
  await nextTurn();
  expect([looks, watch.findings]).toEqual([1, [drop]]);
  nowMs = 59_000;
  watch.tick();
  await nextTurn();
  expect([looks, watch.findings]).toEqual([1, [drop]]);
  nowMs = 60_000;
  watch.tick();
  await nextTurn();
  expect([looks, watch.findings]).toEqual([2, []]);
});

test("takes what a look at everything found, and then waits", async () => {
  let looks = 0;
  const watch = new DropWatch(
    () => Promise.resolve(looks++ === 0 ? [] : [drop]),
    silentLogger,
    () => 5,
  );
  watch.take([{ ...drop, name: "rp-filter" }, drop]);
  watch.tick();
  await nextTurn();
  expect([looks, watch.findings]).toEqual([0, [drop]]);
});

test("a look that fails changes nothing", async () => {
  const watch = new DropWatch(
    () => Promise.reject(new Error("no")),
    silentLogger,
    () => 1e9,
  );
  watch.tick();
  await nextTurn();
  expect(watch.findings).toEqual([]);
});
