import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Finding } from "../../doctor/finding.ts";
import { silentLogger } from "../../telemetry/logger.ts";
import { DropWatch } from "./drop-watch.ts";

const drop: Finding = { name: "forward-drop", severity: "warning", evidence: "x drops", remedy: "accept" };

test("looks at each tick, one look at a time", async () => {
  let looks = 0;
  const watch = new DropWatch(() => Promise.resolve(looks++ === 0 ? [drop] : []), silentLogger);
  watch.tick();
  watch.tick();
  await nextTurn();
  expect([looks, watch.findings]).toEqual([1, [drop]]);
  watch.tick();
  await nextTurn();
  expect([looks, watch.findings]).toEqual([2, []]);
});

test("takes what a look at everything found", () => {
  const watch = new DropWatch(() => Promise.resolve([]), silentLogger);
  watch.take([{ ...drop, name: "rp-filter-strict" }, drop]);
  expect(watch.findings).toEqual([drop]);
});

test("a look that fails changes nothing", async () => {
  const watch = new DropWatch(() => Promise.reject(new Error("no")), silentLogger);
  watch.take([drop]);
  watch.tick();
  await nextTurn();
  expect(watch.findings).toEqual([drop]);
});
