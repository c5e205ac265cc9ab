// `npm test`: every area of the test-suite, then a look at what the tests left behind. Arguments narrow it down to
// areas or to files whose path contains one of them. The last line is the count of all tests.
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allCapabilities, missingCapabilities } from "../lab/capability.ts";
import { runMarker, takeInventory } from "./leaks.ts";
import { type Area, type AreaRun, selectAreas } from "./test-areas.ts";
import type { Tally } from "./vitest-run.ts";

const passedRun: Tally = { passed: 1, failed: 0, skipped: 0 };
const failedRun: Tally = { passed: 0, failed: 1, skipped: 0 };

/** A machine that cannot make the networks of the tests is said to be so, once, and fails the suite. */
async function checkMachine(areas: readonly Area[]): Promise<Tally[]> {
  if (!areas.some(({ name }) => name === "kernel" || name === "lab")) return [];
  const missing = await missingCapabilities(allCapabilities);
  if (missing.length === 0) return [passedRun];
  for (const { name, reason } of missing) console.log(`FAILED  this machine has no ${name}: ${reason.trim()}`);
  console.log("The tests need them all. Without: npm test -- unit system etcd");
  return [failedRun];
}

async function runOne(run: AreaRun): Promise<Tally> {
  const result = await run.start();
  const isGood = result.failed === 0;
  const counts = `${result.passed} passed${isGood ? "" : `, ${result.failed} failed`}`;
  const skipped = result.skipped === 0 ? "" : `, ${result.skipped} skipped`;
  console.log(
    `${isGood ? "ok    " : "FAILED"} ${result.seconds.toFixed(1).padStart(6)} s  ${run.label}: ${counts}${skipped}`,
  );
  if (!isGood) console.log(`\n${result.output.trim()}\n`);
  return result;
}

async function runArea(area: Area): Promise<Tally[]> {
  const queue = area.runs.values();
  const tallies: Tally[] = [];
  const worker = async () => {
    for (const run of queue) tallies.push(await runOne(run));
  };
  await Promise.all(Array.from({ length: area.runsAtOnce }, worker));
  return tallies;
}

function reportLeaks(before: ReadonlySet<string>, after: ReadonlySet<string>): Tally {
  const left = [...after].filter((line) => !before.has(line));
  for (const line of left) console.log(`FAILED  left behind by the tests: ${line}`);
  return left.length === 0 ? passedRun : failedRun;
}

function closingLine(tallies: readonly Tally[]): string {
  const sum = (key: keyof Tally) => tallies.reduce((total, tally) => total + tally[key], 0);
  const skipped = sum("skipped") === 0 ? "" : `, ${sum("skipped")} skipped`;
  return `${sum("passed")} passed, ${sum("failed")} failed${skipped}`;
}

async function main(filters: readonly string[]): Promise<number> {
  const areas = selectAreas(filters);
  if (areas.length === 0) {
    console.error(`no tests match ${filters.join(", ")}`);
    return 2;
  }
  const runId = randomUUID();
  process.env[runMarker] = runId;
  const temporary = mkdtempSync(join(tmpdir(), "flannel-test-"));
  process.env["TMPDIR"] = temporary;
  try {
    const before = takeInventory(runId);
    const tallies = await checkMachine(areas);
    if (!tallies.includes(failedRun)) {
      for (const area of areas) tallies.push(...(await runArea(area)));
    }
    tallies.push(reportLeaks(before, takeInventory(runId)));
    console.log(closingLine(tallies));
    return tallies.every((tally) => tally.failed === 0) ? 0 : 1;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

process.exitCode = await main(process.argv.slice(2));
