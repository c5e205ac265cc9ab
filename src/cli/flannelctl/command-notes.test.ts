// What the help of a command says below its options: examples that the program itself accepts.
import type { Command } from "commander";
import { expect, test } from "vitest";
import { flannelctl } from "../../../test/support/flannelctl.ts";
import { commandNotes, wordsOf } from "./command-notes.ts";
import { buildProgram } from "./program.ts";

function leaves(command: Command): readonly Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
}

test("every command without sub-commands has notes, and no others do", () => {
  const program = buildProgram({ writeOut: () => undefined }, "", () => Promise.resolve());
  expect(Object.keys(commandNotes).toSorted()).toEqual(leaves(program).map(wordsOf).toSorted());
});

test("each example is a command line that flannelctl accepts, of the command that shows it", async () => {
  for (const [words, { examples }] of Object.entries(commandNotes)) {
    for (const example of examples) {
      const ran: string[] = [];
      const program = buildProgram({ writeOut: () => undefined }, "", (command) => {
        ran.push(wordsOf(command));
        return Promise.resolve();
      });
      await program.parseAsync(example.split(" "), { from: "user" });
      expect(ran, example).toEqual([words]);
    }
  }
});

test("the help of a nested command shows examples, exit codes and where the other options are, and no default of a switch", async () => {
  const { stdout } = await flannelctl(["config", "check", "--help"]);
  expect(stdout).toContain("\n\nExamples:\n  flannelctl config check\n");
  expect(stdout).toContain("\nExit codes: 0 valid, all keys are known; 1 an error, or an unknown key.\n");
  expect(stdout).toContain("\nflannelctl --help: options of every command");
  const release = await flannelctl(["lease", "release", "--help"]);
  expect(release.stdout).toMatch(/--force +delete the lease even if its host is running\n/);
  const timeout = await flannelctl(["wait", "--help"]);
  expect(timeout.stdout).toContain("(default: 60)");
  const group = await flannelctl(["lease", "--help"]);
  expect(group.stdout).not.toContain("\n\n\n");
});
