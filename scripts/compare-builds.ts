// `npm run compare`: proves that this checkout's build does what another revision's does, and that one can take over from
// the other and back. See scripts/compare/options.ts.
import { buildBase, newBuild } from "./compare/build.ts";
import { compareNeutral } from "./compare/neutral.ts";
import { CompareUsageError, compareUsage, parseCompareOptions } from "./compare/options.ts";
import { compareUpgrade } from "./compare/upgrade.ts";

async function main(argv: readonly string[]): Promise<number> {
  const options = parseCompareOptions(argv);
  if (options.help) {
    process.stdout.write(compareUsage);
    return 0;
  }
  const base = await buildBase(options.base);
  console.log(`compare: base is ${options.base}, built in ${base.directory}`);
  const comparisons = { neutral: compareNeutral, upgrade: compareUpgrade };
  const differing: string[] = [];
  for (const mode of options.modes) {
    const started = performance.now();
    const isSame = await comparisons[mode]({ base, new: newBuild }, options.only);
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    console.log(`compare: ${mode}: ${isSame ? "no difference" : "DIFFERENT"}, ${seconds} s`);
    if (!isSame) differing.push(mode);
  }
  return differing.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Error)) throw error;
  console.error(`compare: ${error.message}`);
  if (error instanceof CompareUsageError) console.error("See npm run compare -- --help.");
  process.exitCode = error instanceof CompareUsageError ? 2 : 1;
}
