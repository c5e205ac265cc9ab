// `flannelctl completion`: prints a script that makes a shell complete the command line, written from the commands
// themselves.
import type { Command } from "commander";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { bashScript } from "../completion/bash-script.ts";
import { describeCommand } from "../completion/command-tree.ts";
import { fishScript } from "../completion/fish-script.ts";
import { zshScript } from "../completion/zsh-script.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { completionOutputSchema } from "../session/json-output.ts";

const writers = { bash: bashScript, zsh: zshScript, fish: fishScript };
export type ShellName = keyof typeof writers;

export function printCompletion(invocation: Invocation, shell: ShellName, program: Command): Promise<ExitCode> {
  const script = writers[shell](describeCommand(program));
  if (invocation.options.json) present(invocation, completionOutputSchema, { shell, script }, () => []);
  else invocation.terminal.writeOut(script);
  return Promise.resolve(exitCodes.ok);
}
