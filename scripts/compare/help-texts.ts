// What every program says about itself: `--help` of each, and of each command of flannelctl, found by reading the lists
// of commands in the help itself.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { tryRun } from "../../lab/command.ts";
import type { Build } from "./build.ts";
import type { Capture } from "./capture.ts";
import { inTurns } from "./in-turns.ts";

/** Help must not depend on who looks. */
const ENVIRONMENT = { COLUMNS: "100", NO_COLOR: "1" };
const AT_ONCE = 2;

export async function captureHelp(build: Build): Promise<readonly Capture[]> {
  const bin = join(build.directory, "bin");
  const isProgram = (name: string) => !name.endsWith(".sh") && (statSync(join(bin, name)).mode & 0o111) !== 0;
  const captures: Capture[] = [];
  let level: readonly (readonly string[])[] = readdirSync(bin)
    .filter(isProgram)
    .map((name) => [name]);
  while (level.length > 0) {
    const next: (readonly string[])[] = [];
    const look = async (words: readonly string[]) => {
      const [program = "", ...command] = words;
      const result = await tryRun([join(bin, program), ...command, "--help"], { env: ENVIRONMENT });
      const text = `${result.stdout}${result.stderr}exit ${result.exitCode}\n`;
      captures.push({ name: `help/${words.join(" ")}`, text });
      next.push(...commandsIn(result.stdout).map((name) => [...words, name]));
    };
    await inTurns(AT_ONCE, level, look);
    level = next;
  }
  return captures;
}

/** The first words below "Commands:"; `help` only repeats the others. */
function commandsIn(help: string): readonly string[] {
  const list = help.split(/^Commands:\n/m)[1]?.split("\n\n")[0] ?? "";
  const names = [...list.matchAll(/^ {2}([a-z][a-z-]*)/gm)].map((match) => match[1] ?? "");
  return names.filter((name) => name !== "help");
}
