// How much of the random tests one run does: a tenth, chosen by the commit, or everything. docs/testing.md explains it.
import { execFileSync } from "node:child_process";

/** Everything is this many slices. */
export const SLICES = 10;

const wholeText = "all";

export interface FuzzScale {
  /** From `first` on; slices from 10 on are more than everything. */
  readonly first: number;
  /** Below 1: only the beginning of that slice. */
  readonly count: number;
  /** 32 bits; all random values of the run come from it. The same commit has the same. */
  readonly seed: number;
}

/**
 * Reads FUZZ: a slice (0 to 9), `N/10` for the first tenth of slice N, `all` of them, or `xN` for N times all. Without it
 * the commit chooses the slice.
 * FUZZ_COMMIT stands for the commit, for processes that should not ask git again. Throws on anything else.
 */
export function readFuzzScale(env: NodeJS.ProcessEnv = process.env): FuzzScale {
  const commit = env["FUZZ_COMMIT"] ?? commitHash();
  if (!/^[0-9a-f]{8,64}$/.test(commit)) throw new Error(`FUZZ_COMMIT=${commit} is not the hash of a commit`);
  const seed = Number.parseInt(commit.slice(0, 8), 16);
  const text = env["FUZZ"] ?? "";
  if (text === "") return { first: Number(BigInt(`0x${commit}`) % BigInt(SLICES)), count: 1, seed };
  if (text === wholeText) return { first: 0, count: SLICES, seed };
  if (/^[0-9]$/.test(text)) return { first: Number(text), count: 1, seed };
  if (/^[0-9]\/10$/.test(text)) return { first: Number(text[0]), count: 0.1, seed };
  const times = /^x([1-9]\d{0,3})$/.exec(text)?.[1];
  if (times === undefined)
    throw new Error(`FUZZ=${text} is not 0 to 9, 0/10 to 9/10, "all", or "x" and a number of times`);
  return { first: 0, count: Number(times) * SLICES, seed };
}

/** What all processes of one run are to be started with, so that they agree. */
export function fuzzEnvironment(env: NodeJS.ProcessEnv = process.env): Readonly<Record<string, string>> {
  return { FUZZ: env["FUZZ"] ?? "", FUZZ_COMMIT: env["FUZZ_COMMIT"] ?? commitHash() };
}

/** For what pure code repeats on another Node: the first tenth of a run of one slice; a long run is as long there. */
export function shortFuzzEnvironment(env: NodeJS.ProcessEnv = process.env): Readonly<Record<string, string>> {
  const { first, count } = readFuzzScale(env);
  return count === 1 ? { FUZZ: `${first}/10` } : {};
}

/** For the report: what to set to have the same random values again. */
export function describeFuzzScale(env: Readonly<Record<string, string>>): string {
  const { first, count } = readFuzzScale(env);
  const commit = env["FUZZ_COMMIT"]?.slice(0, 8);
  if (count === 1) return `slice ${first} of ${SLICES} of the random tests: FUZZ=${first} FUZZ_COMMIT=${commit}`;
  return `${count === SLICES ? "all" : count / SLICES} times the random tests: FUZZ=${env["FUZZ"]} FUZZ_COMMIT=${commit}`;
}

/** Of what is checked out here; a checkout without git takes another one every day. */
function commitHash(): string {
  try {
    const argv = ["-c", "safe.directory=*", "rev-parse", "HEAD"];
    return execFileSync("git", argv, {
      cwd: import.meta.dirname,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    const day = Math.floor(Date.now() / 86_400_000);
    return mixBits(day).toString(16).padStart(7, "0") + String(day % SLICES);
  }
}

/** Spreads neighbouring numbers over 32 bits (the last step of MurmurHash3). */
export function mixBits(value: number): number {
  let bits = value >>> 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
