import { expect, test } from "vitest";
import { type ErrorCode, FlannelError } from "./errors.ts";
import { agentExitCode, exitCodeOfError } from "./exit-codes.ts";

test.each<[ErrorCode, number, number]>([
  ["USAGE", 2, 2],
  ["CONFIG_INVALID", 2, 2],
  ["CONFIG_MISSING", 1, 1],
  ["AGENT_ABSENT", 3, 3],
  ["LEASE_LOST", 1, 5],
  ["LEASE_CONFLICT", 1, 5],
  ["STORE_UNAVAILABLE", 1, 1],
  ["CANCELLED", 130, 130],
  ["INTERNAL", 1, 1],
])("%s ends a program with %i, the agent with %i", (code, program, agent) => {
  const error = new FlannelError(code, "why");
  expect([exitCodeOfError(error), agentExitCode(error)]).toEqual([program, agent]);
});

test("what is no error of ours is a failure", () => {
  expect(exitCodeOfError(new TypeError("x"))).toBe(1);
});
