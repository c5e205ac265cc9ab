import { expect, test } from "vitest";
import { silentLogger } from "../../telemetry/logger.ts";
import { ContestLog } from "./contest-log.ts";

function recorded() {
  const lines: string[] = [];
  const log = new ContestLog({ ...silentLogger, warn: (event, message) => void lines.push(`${event}: ${message}`) });
  const repair = (object: string, nowMs: number, found?: string): boolean => {
    const isContested = log.count({ object, found }, nowMs);
    log.report(nowMs);
    return isContested;
  };
  return { lines, repair };
}

test("the sixth repair is a contest, told in one line a minute with what was found", () => {
  const { lines, repair } = recorded();
  const told = Array.from({ length: 40 }, (_, i) => repair("10.0.2.0/24 dev a", i * 4_000, "10.0.2.0/24 proto bird"));
  expect(told.filter((isContested) => !isContested)).toHaveLength(5);
  expect(lines).toEqual(
    [1, 15, 15].map(
      (repairs) =>
        `host.contested: contended: another program keeps changing 10.0.2.0/24 dev a (${repairs} more ${repairs === 1 ? "repair" : "repairs"}; found instead: 10.0.2.0/24 proto bird); repairs continue`,
    ),
  );
});

test("all contested objects share the line, and a quiet minute ends a contest", () => {
  const { lines, repair } = recorded();
  for (const object of ["a", "b"]) for (let i = 0; i < 10; i++) repair(object, i);
  expect(lines).toHaveLength(1);
  for (const object of ["a", "b"]) repair(object, 60_005);
  expect(lines[1]).toContain("a (5 more repairs; it was gone)");
  expect(repair("a", 120_006)).toBe(false);
});
