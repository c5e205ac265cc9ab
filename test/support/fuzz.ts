// Random tests at the scale of the run (see fuzz-scale.ts), and with each failure the command that has it again.
import { relative } from "node:path";
import fc from "fast-check";
import { expect, onTestFailed } from "vitest";
import { mixBits, readFuzzScale, SLICES } from "./fuzz-scale.ts";

const root = new URL("../..", import.meta.url).pathname;

/** Parameters for `fc.assert`. */
export interface PropertyRuns {
  readonly numRuns: number;
  readonly seed: number;
  readonly path: string;
  readonly reporter: <T>(details: fc.RunDetails<T>) => void;
}

/** Of several that divide the runs of one property among themselves: `index` counts from 0. */
export interface Part {
  readonly index: number;
  readonly of: number;
}

/**
 * The runs of a property that has `total` of them in all slices together: those of this run's slices. Ten runs with one
 * seed and consecutive slices have exactly the values of one run with `FUZZ=all`. FUZZ_SEED and FUZZ_PATH, as a failure
 * prints them, have its value again.
 */
export function propertyRuns(total: number, part: Part = { index: 0, of: 1 }): PropertyRuns {
  const { first, count, seed } = readFuzzScale();
  const replayed = process.env["FUZZ_PATH"];
  if (replayed !== undefined) return { numRuns: 1, seed: replayedSeed() ?? seed | 0, path: replayed, reporter };
  const [start, end] = [startOfSlice(first, total), startOfSlice(first + count, total)];
  const startOfPart = (index: number) => start + Math.floor(((end - start) * index) / part.of);
  const [from, to] = [startOfPart(part.index), startOfPart(part.index + 1)];
  // The path's first number is the index of the first value.
  return { numRuns: Math.max(1, to - from), seed: replayedSeed() ?? seed | 0, path: String(from), reporter };
}

function startOfSlice(slice: number, total: number): number {
  return Math.floor((slice * total) / SLICES);
}

/** How many of `total` this run does, for tests that count themselves. At least one. */
export function scaled(total: number, slices = readFuzzScale().count): number {
  return Math.max(1, Math.round((total * slices) / SLICES));
}

/**
 * A seed for each slice of this run, for tests with a generator of their own: each seed stands for a tenth of all.
 * Never 0. FUZZ_SEED, as a failure prints it, is the only one if it is set.
 */
export function sliceSeeds(): readonly number[] {
  const only = replayedSeed();
  if (only !== undefined) return [only];
  const { first, count, seed } = readFuzzScale();
  return Array.from({ length: Math.ceil(count) }, (_, index) => 1 + (mixBits(seed + first + index) >>> 1));
}

/** To be called in a test that makes its values from `seed`: if it fails, how to have them again is printed. */
export function printReplayOnFailure(seed: number): void {
  onTestFailed(() => console.error(`replay with: ${replayCommand({ FUZZ_SEED: seed })}`));
}

function replayedSeed(): number | undefined {
  const text = process.env["FUZZ_SEED"];
  if (text === undefined) return undefined;
  if (!/^-?\d{1,10}$/.test(text)) throw new Error(`FUZZ_SEED=${text} is not a number`);
  return Number(text);
}

function reporter<T>(details: fc.RunDetails<T>): void {
  if (!details.failed) return;
  const { seed, counterexamplePath: path } = details;
  const replay = path === null ? "" : `\n\nreplay with: ${replayCommand({ FUZZ_SEED: seed, FUZZ_PATH: path })}`;
  throw new Error(`${fc.defaultReportMessage(details)}${replay}`, { cause: details.errorInstance });
}

/** The running test alone. */
function replayCommand(variables: Readonly<Record<string, number | string>>): string {
  const { testPath = "", currentTestName = "" } = expect.getState();
  const settings = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const pattern = currentTestName
    .split(" > ")
    .join(".*")
    .replaceAll(/[^\w ,:.*-]/g, ".");
  return [...settings, "npm test --", relative(root, testPath), "-t", `'${pattern}'`].join(" ");
}
