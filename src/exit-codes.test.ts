import { expect, test } from "vitest";
import { type ErrorCode, FlannelError } from "./errors.ts";
import { agentExitCode, exitCodeOfError } from "./exit-codes.ts";

test.each<[ErrorCode, number, number]>([
  ["usage", 2, 2],
  ["config.invalid", 2, 2],
  ["config.missing", 1, 1],
  ["agent.absent", 3, 3],
  ["lease.lost", 1, 5],
  ["lease.conflict", 1, 5],
  ["store.unavailable", 1, 1],
  ["cancelled", 130, 130],
  ["internal", 1, 1],
])("%s ends a program with %i, the agent with %i", (code, program, agent) => {
  const error = new FlannelError(code, "why");
  expect([exitCodeOfError(error), agentExitCode(error)]).toEqual([program, agent]);
});

test("what is no error of ours is a failure", () => {
  expect(exitCodeOfError(new TypeError("x"))).toBe(1);
});
