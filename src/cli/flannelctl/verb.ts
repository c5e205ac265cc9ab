// How a command line reaches what it asks for.
import type { Command } from "commander";
import type { ExitCode } from "../../exit-codes.ts";
import type { Invocation } from "./session/invocation.ts";

export type Verb<Arguments extends readonly unknown[]> = (
  invocation: Invocation,
  ...args: Arguments
) => Promise<ExitCode>;

/** Runs a verb with the options of its command. */
export type Run = <A extends readonly unknown[]>(command: Command, verb: Verb<A>, args: A) => Promise<void>;
