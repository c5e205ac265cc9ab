import { afterEach, beforeEach, expect, test } from "vitest";
import { logWarnings } from "./log-warnings.ts";
import { silentLogger } from "./logger.ts";

let before: NodeJS.WarningListener[];
beforeEach(() => {
  before = process.listeners("warning");
});
afterEach(() => {
  process.removeAllListeners("warning");
  for (const listener of before) process.on("warning", listener);
});

test("a warning is logged once, with what failed and where", async () => {
  const lines: unknown[][] = [];
  logWarnings({
    ...silentLogger,
    warn: (event, _, fields = {}) => void lines.push([event, fields["error"], fields["stack"]]),
  });
  for (let pass = 0; pass < 3; pass++) process.emitWarning(new Error("no descriptor left"));
  process.emitWarning("another one", "OddWarning");
  await new Promise((resolve) => setImmediate(resolve));
  expect(lines).toEqual([
    ["agent.fault", "Error: no descriptor left", expect.stringContaining("log-warnings.test.ts")],
    ["agent.fault", "OddWarning: another one", expect.anything()],
  ]);
});
