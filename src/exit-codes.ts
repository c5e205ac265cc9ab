// With which code each of the programs ends: one table for all of them, for the help and for the docs.
import { hasCode, isCancelled } from "./errors.ts";

export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  noAgent: 3,
  unknown: 4,
  leaseLost: 5,
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** What each code says, as a clause for a person. */
export const exitCodeMeanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  ok: "success; stopped on request",
  failure: "failure, or a finding",
  usage: "wrong usage or wrong configuration",
  noAgent: "no agent listens on the control socket",
  unknown: "no finding, but a check could not be completed",
  leaseLost: "the agent ended because another owner holds its lease",
  interrupted: "interrupted by a signal",
};

/** For errors that end a program. A lost lease has a code of its own only where it ends the agent: see `agentExitCode`. */
export function exitCodeOfError(error: unknown): ExitCode {
  if (isCancelled(error)) return exitCodes.interrupted;
  if (hasCode(error, "USAGE", "CONFIG_INVALID")) return exitCodes.usage;
  return hasCode(error, "AGENT_ABSENT") ? exitCodes.noAgent : exitCodes.failure;
}

/** For errors that end flanneld. */
export function agentExitCode(error: unknown): ExitCode {
  return hasCode(error, "LEASE_CONFLICT", "LEASE_LOST") ? exitCodes.leaseLost : exitCodeOfError(error);
}
