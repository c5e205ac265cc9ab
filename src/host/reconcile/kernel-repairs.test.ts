import { expect, test } from "vitest";
import { RepairLog } from "../../async/repair-log.ts";
import { silentLogger } from "../../telemetry/logger.ts";
import { kernelRepairLines } from "./kernel-repairs.ts";

function recorded() {
  const lines: string[] = [];
  const logger = { ...silentLogger, warn: (event: string, message: string) => void lines.push(`${event}: ${message}`) };
  const log = new RepairLog(kernelRepairLines(logger));
  const repair = (objects: readonly string[], nowMs: number, found?: string): void =>
    log.record(
      objects.map((object) => ({ at: "", object, action: "corrected", kind: "route", found })),
      nowMs,
    );
  return { log, lines, repair };
}

test("the sixth repair is a contest, told in one line a minute with what was found", () => {
  const { log, lines, repair } = recorded();
  for (let i = 0; i < 40; i++) repair(["10.0.2.0/24 dev a"], i * 4_000, "10.0.2.0/24 proto bird");
  expect(lines.slice(0, 5)).toEqual(
    Array.from(
      { length: 5 },
      () => "host.repaired: repaired an external change of flannel's kernel objects: corrected 10.0.2.0/24 dev a",
    ),
  );
  expect(lines.slice(5)).toEqual(
    [1, 15, 15].map(
      (repairs) =>
        `host.contested: contended: another program keeps changing 10.0.2.0/24 dev a (${repairs} more ${repairs === 1 ? "repair" : "repairs"}; found instead: 10.0.2.0/24 proto bird); repairs continue`,
    ),
  );
  expect(log.total).toBe(40);
  expect(log.last).toHaveLength(20);
});

test("all contested objects share the line, and a quiet minute ends a contest", () => {
  const { lines, repair } = recorded();
  const contested = () => lines.filter((line) => line.startsWith("host.contested"));
  for (let i = 0; i < 10; i++) repair(["a", "b"], i);
  expect(contested()).toHaveLength(1);
  repair([], 60_005);
  expect(contested()[1]).toContain("a (4 more repairs; it was gone); b (4 more repairs; it was gone)");
  const before = lines.length;
  repair(["a"], 120_006);
  expect(lines.slice(before)).toEqual([
    "host.repaired: repaired an external change of flannel's kernel objects: corrected a",
  ]);
});

test("a line names five objects and counts the others", () => {
  const { lines, repair } = recorded();
  repair(["a", "b", "c", "d", "e", "f", "g"], 0);
  expect(lines[0]).toMatch(/kernel objects: corrected a; .* corrected e and 2 more$/);
});
