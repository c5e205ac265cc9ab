// The part of `neutral` that runs in a box: makes each world with one build and writes what it saw below a directory.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Build } from "./build.ts";
import { normalise } from "./normalise.ts";
import { observe } from "./observe.ts";
import { World, type WorldPlan } from "./world.ts";

export interface NeutralTask {
  readonly build: Build;
  readonly plans: readonly WorldPlan[];
  /** One directory below it for each world. */
  readonly directory: string;
}

async function main({ build, plans, directory }: NeutralTask): Promise<void> {
  for (const plan of plans) {
    const started = performance.now();
    await using world = await World.start(plan, build);
    const { captures, addresses } = await observe(world);
    for (const capture of captures) {
      const file = join(directory, plan.name, `${capture.name}.txt`);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, normalise(capture, { addresses, buildDirectory: build.directory }));
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`compare: ${build.name.padEnd(4)} ${plan.name.padEnd(14)} ${captures.length} captures, ${seconds} s`);
  }
}

await main(JSON.parse(process.argv[2] ?? "") as NeutralTask);
