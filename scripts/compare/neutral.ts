// `neutral`: the same worlds with both builds, side by side, and the difference of what was seen.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { tryRun } from "../../lab/command.ts";
import { type Build, type Builds, cacheDirectory } from "./build.ts";
import { captureHelp } from "./help-texts.ts";
import { runInBox } from "./in-box.ts";
import type { NeutralTask } from "./neutral-inside.ts";
import { normalise } from "./normalise.ts";
import { selectPlans } from "./options.ts";
import { worldPlans } from "./world.ts";

const results = join(cacheDirectory, "compare");

/** True: the builds are the same as far as can be seen. Prints what differs. */
export async function compareNeutral(both: Builds, only: readonly string[]): Promise<boolean> {
  const plans = selectPlans(worldPlans, only);
  const builds = [both.base, both.new];
  rmSync(results, { recursive: true, force: true });
  const codes = await Promise.all(
    builds.map(async (build) => {
      const directory = join(results, build.name);
      const task: NeutralTask = { build, plans, directory };
      const code = await runInBox(new URL("neutral-inside.ts", import.meta.url), task);
      await writeHelp(build, directory);
      return code;
    }),
  );
  const failed = builds.filter((_, index) => codes[index] !== 0).map(({ name }) => name);
  if (failed.length > 0) console.log(`compare: neutral: not all worlds could be made with: ${failed.join(", ")}`);
  const difference = await tryRun(["env", "-C", results, "diff", "-ruN", "base", "new"]);
  if (difference.exitCode > 1) throw new Error(`diff could not compare: ${difference.stderr}`);
  process.stdout.write(difference.stdout);
  return failed.length === 0 && difference.exitCode === 0;
}

async function writeHelp(build: Build, directory: string): Promise<void> {
  for (const capture of await captureHelp(build)) {
    const file = join(directory, `${capture.name}.txt`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, normalise(capture, { addresses: [], buildDirectory: build.directory }));
  }
}
