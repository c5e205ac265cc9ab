// Small C programs of the lab, compiled when first used.
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { tryRun } from "./command.ts";

const programs = new Map<string, Promise<string>>();

/** The path of the program made from `source`, a file. Throws a sentence when there is no C compiler. */
export function compiled(source: string): Promise<string> {
  const known = programs.get(source);
  if (known !== undefined) return known;
  const program = compile(source);
  programs.set(source, program);
  return program;
}

async function compile(source: string): Promise<string> {
  const name = basename(source, ".c");
  const program = join(await mkdtemp(join(tmpdir(), `${name}-`)), name);
  const result = await tryRun(["cc", "-O2", "-Wall", "-Werror", "-o", program, source], { timeoutMs: 60_000 });
  if (result.exitCode === 0) return program;
  throw new Error(`${name} needs a C compiler (apt-get install gcc libc6-dev): ${result.stderr}`);
}
