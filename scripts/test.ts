// `npm test`: every area of the test-suite, then a look at what the tests left behind. Arguments narrow it down to
// areas or to files whose path contains one of them, `-t` to tests by their name; `--long` adds what takes too long for
// every day. The last line is the count of all tests.
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { allCapabilities, missingCapabilities } from "../lab/capability.ts";
import { buildConformancePrograms } from "../lab/kubernetes/conformance-programs.ts";
import { buildKubernetes } from "../lab/kubernetes/program.ts";
import { buildUpstreamPlugin } from "../lab/runtime/flannel-plugin.ts";
import { buildRuntimePrograms } from "../lab/runtime/runtime-programs.ts";
import { buildUpstream } from "../lab/upstream-program.ts";
import { describeFuzzScale, fuzzEnvironment } from "../test/support/fuzz-scale.ts";
import { runMarker, takeInventory } from "./leaks.ts";
import { endedProcessorSeconds } from "./processor-time.ts";
import {
  type AreaRun,
  cniTest,
  conformanceTest,
  runtimesTest,
  type Selection,
  selectRuns,
  switchOverTest,
} from "./test-areas.ts";
import type { RunResult, Tally } from "./vitest-run.ts";

const passedRun: Tally = { passed: 1, failed: 0, skipped: 0 };
const failedRun: Tally = { passed: 0, failed: 1, skipped: 0 };

/** Side by side, two more than there are cores: much of a run is waiting. More would only make each other late. */
const runsAtOnce = Math.min(availableParallelism(), 4) + 2;

/** More failed runs than this are no accident of a busy machine. */
const repeatedAtMost = 4;

/** A machine that cannot make the networks of the tests is said to be so, once, and fails the suite. */
async function checkMachine(runs: readonly AreaRun[]): Promise<Tally[]> {
  if (!runs.some(({ area }) => ["kernel", "lab", "kube", "cloud"].includes(area))) return [];
  const missing = await missingCapabilities(allCapabilities);
  if (missing.length === 0) return [passedRun];
  for (const { name, reason } of missing) console.log(`FAILED  this machine has no ${name}: ${reason.trim()}`);
  console.log("The tests need all of them. These areas do not: npm test -- unit system etcd");
  return [failedRun];
}

/** What single tests need besides Kubernetes itself. */
const programsOfTests: readonly (readonly [string, (say: (message: string) => void) => Promise<void>])[] = [
  [conformanceTest, buildConformancePrograms],
  [switchOverTest, buildUpstream],
  [switchOverTest, buildUpstreamPlugin],
  [cniTest, buildUpstreamPlugin],
  [runtimesTest, buildRuntimePrograms],
];

/**
 * The tests on Kubernetes find it built; the first run on a machine tells what takes so long. Where it cannot be built, that
 * is one failure, and the other runs are left.
 */
async function prepareKubernetes(runs: readonly AreaRun[]): Promise<{ tallies: Tally[]; left: readonly AreaRun[] }> {
  if (!runs.some(({ area }) => area === "kube")) return { tallies: [], left: runs };
  try {
    const say = (message: string) => console.log(`set-up: ${message}`);
    await buildKubernetes(say);
    for (const [test, build] of programsOfTests) if (runs.some(({ label }) => label === test)) await build(say);
    return { tallies: [], left: runs };
  } catch (error) {
    console.log(`FAILED  ${error instanceof Error ? error.message : String(error)}`);
    return { tallies: [failedRun], left: runs.filter(({ area }) => area !== "kube") };
  }
}

interface FinishedRun {
  readonly run: AreaRun;
  readonly result: RunResult;
}

/** A run that cannot be prepared (nothing to download, no room) has failed; the others go on. */
async function startOne(run: AreaRun): Promise<RunResult> {
  try {
    return await run.start();
  } catch (error) {
    const output = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { ...failedRun, output, seconds: 0, processorSeconds: 0, failures: [`${run.label}: could not be prepared`] };
  }
}

async function runOne(run: AreaRun): Promise<FinishedRun> {
  const result = await startOne(run);
  const isGood = result.failed === 0;
  const counts = `${result.passed} passed${isGood ? "" : `, ${result.failed} failed`}`;
  const skipped = result.skipped === 0 ? "" : `, ${result.skipped} skipped`;
  const times = `${result.seconds.toFixed(1).padStart(6)} s ${result.processorSeconds.toFixed(0).padStart(4)} cpu-s`;
  console.log(`${isGood ? "ok    " : "FAILED"} ${times}  ${run.label}: ${counts}${skipped}`);
  if (!isGood) console.log(`\n${result.output.trim()}\n`);
  return { run, result };
}

/** In the order given, those that want the machine for themselves after all others. */
async function runAll(runs: readonly AreaRun[]): Promise<FinishedRun[]> {
  const finished: FinishedRun[] = [];
  const take = async (queue: Iterable<AreaRun>) => {
    for (const run of queue) finished.push(await runOne(run));
  };
  const shared = runs.filter(({ place }) => place === undefined).values();
  const guestsFirst = async () => {
    await take(runs.filter(({ place }) => place === "guest"));
    await take(shared);
  };
  await Promise.all([guestsFirst(), ...Array.from({ length: runsAtOnce - 1 }, () => take(shared))]);
  await take(runs.filter(({ place }) => place === "alone"));
  return finished;
}

/**
 * A few runs that failed are run once more, each with the machine for itself: that tells a fault from a test that a busy
 * machine breaks. What passes then counts as passed and is named at the end, since such a test is to be mended.
 */
async function repeatFailed(finished: readonly FinishedRun[]): Promise<{ results: RunResult[]; unsteady: string[] }> {
  const failed = finished.filter(({ result }) => result.failed > 0);
  if (failed.length > repeatedAtMost) return { results: finished.map(({ result }) => result), unsteady: [] };
  const results = finished.filter(({ result }) => result.failed === 0).map(({ result }) => result);
  const unsteady: string[] = [];
  for (const { run, result } of failed) {
    console.log(`once more, alone: ${run.label}`);
    const again = await runOne(run);
    results.push(again.result);
    if (again.result.failed === 0) unsteady.push(...namesOfFailures(run, result));
  }
  return { results, unsteady };
}

function namesOfFailures({ label }: AreaRun, { failures }: RunResult): readonly string[] {
  return failures.length > 0 ? failures : [label];
}

/** All runs and the few repeated ones; then names what is to be looked at, where it is found: near the end. */
async function runAndRepeat(runs: readonly AreaRun[]): Promise<{ results: RunResult[]; unsteady: number }> {
  const { results, unsteady } = await repeatFailed(await runAll(runs));
  for (const result of results) for (const failure of result.failures) console.log(`FAILED  ${failure}`);
  for (const failure of unsteady) console.log(`UNSTEADY  failed beside other runs, passed alone: ${failure}`);
  return { results, unsteady: unsteady.length };
}

function reportLeaks(before: ReadonlySet<string>, after: ReadonlySet<string>): Tally {
  const left = [...after].filter((line) => !before.has(line));
  for (const line of left) console.log(`FAILED  left behind by the tests: ${line}`);
  return left.length === 0 ? passedRun : failedRun;
}

function closingLine(tallies: readonly Tally[], unsteadyCount: number): string {
  const sum = (key: keyof Tally) => tallies.reduce((total, tally) => total + tally[key], 0);
  const skipped = sum("skipped") === 0 ? "" : `, ${sum("skipped")} skipped`;
  const unsteady = unsteadyCount === 0 ? "" : `, ${unsteadyCount} unsteady`;
  return `${sum("passed")} passed, ${sum("failed")} failed${unsteady}${skipped}`;
}

function readArguments(args: readonly string[]): Selection {
  const options = { long: { type: "boolean", default: false }, testName: { type: "string", short: "t" } } as const;
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
  const { long: isLong, testName } = values;
  return { filters: positionals, isLong, ...(testName === undefined ? {} : { testName }) };
}

async function main(selection: Selection): Promise<number> {
  const runs = selectRuns(selection);
  if (runs.length === 0) {
    console.error(`no tests match ${selection.filters.join(", ")}`);
    return 2;
  }
  if (selection.isLong) process.env["FUZZ"] ??= "all";
  const scale = fuzzEnvironment();
  Object.assign(process.env, scale);
  console.log(describeFuzzScale(scale));
  const started = performance.now();
  const runId = randomUUID();
  process.env[runMarker] = runId;
  const temporary = mkdtempSync(join(tmpdir(), "flannel-test-"));
  process.env["TMPDIR"] = temporary;
  try {
    let unsteadyCount = 0;
    const before = takeInventory(runId);
    const tallies = await checkMachine(runs);
    if (!tallies.includes(failedRun)) {
      const prepared = await prepareKubernetes(runs);
      const { results, unsteady } = await runAndRepeat(prepared.left);
      tallies.push(...prepared.tallies, ...results);
      unsteadyCount = unsteady;
    }
    tallies.push(reportLeaks(before, takeInventory(runId)));
    const minutes = ((performance.now() - started) / 60_000).toFixed(1);
    const used = endedProcessorSeconds().toFixed(0);
    console.log(`${minutes} minutes, ${runsAtOnce} runs at once, ${used} s of processor time`);
    console.log(closingLine(tallies, unsteadyCount));
    return tallies.every((tally) => tally.failed === 0) ? 0 : 1;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

process.exitCode = await main(readArguments(process.argv.slice(2)));
