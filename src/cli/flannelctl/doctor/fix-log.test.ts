import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { FixLog, type LoggedFix } from "./fix-log.ts";

const directory = mkdtempSync(join(tmpdir(), "fix-log-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function entry(run: string, code: string): LoggedFix {
  const undo = { kind: "run", command: ["ip", "link"] } as const;
  return {
    run,
    at: run,
    code,
    evidence: "",
    command: "ip link",
    state: "done",
    undo: { ...undo, command: ["ip", "link"] },
  };
}

test("an undo that failed does not stand in the way of undoing what was before it", async () => {
  const [first, second] = [entry("2026-01-01T00:00:00Z", "a"), entry("2026-01-02T00:00:00Z", "b")];
  const log = FixLog.open(directory);
  await log.add(first);
  await log.add(second);
  expect(log.undoable).toEqual([second]);
  await log.settle(second, "undo-failed", "in use");
  expect(FixLog.open(directory).undoable.map(({ code }) => code)).toEqual(["a"]);
});
