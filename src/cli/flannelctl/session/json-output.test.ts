import { expect, test } from "vitest";
import { parseOutput } from "../../../../test/support/output-schema.ts";

test("what is not as published is refused: another version, a missing field, a time that is none", () => {
  const wait = { version: 1, ready: true, state: "ready", waitedSeconds: 1, reasons: [] };
  expect(parseOutput("wait", JSON.stringify(wait))).toEqual(wait);
  expect(() => parseOutput("wait", JSON.stringify({ ...wait, version: 2 }))).toThrow("docs/schemas/wait.json");
  const { waitedSeconds: _, ...short } = wait;
  expect(() => parseOutput("wait", JSON.stringify(short))).toThrow("waitedSeconds");
  const token = { version: 1, id: "a", token: "a.b", expiresAt: "tomorrow", joinCommand: [] };
  expect(() => parseOutput("token create", JSON.stringify(token))).toThrow("expiresAt");
});
