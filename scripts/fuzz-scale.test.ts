// The scale of the random tests: what a slice is, and that the slices together are everything.
import fc from "fast-check";
import { afterEach, expect, test, vi } from "vitest";
import { propertyRuns, scaled, sliceSeeds } from "../test/support/fuzz.ts";
import { readFuzzScale, shortFuzzEnvironment } from "../test/support/fuzz-scale.ts";

const commit = "a668733d29f0a3f1d1e7b7d0b7a2a5a0c8a5f123";

afterEach(() => void vi.unstubAllEnvs());

function scale(fuzz: string): void {
  vi.stubEnv("FUZZ", fuzz);
  vi.stubEnv("FUZZ_COMMIT", commit);
}

/** The values that a property with 1,003 runs meets. */
function valuesMet(fuzz: string, parts = 1): number[] {
  scale(fuzz);
  const values: number[] = [];
  const property = fc.property(fc.nat(), (value) => void values.push(value));
  for (let index = 0; index < parts; index++) fc.assert(property, propertyRuns(1_003, { index, of: parts }));
  return values;
}

test("the commit chooses the slice, and the same commit has the same seed", () => {
  expect(readFuzzScale({ FUZZ_COMMIT: commit })).toEqual({ first: 3, count: 1, seed: 0xa668733d });
  expect(readFuzzScale({ FUZZ_COMMIT: commit, FUZZ: "7" })).toEqual({ first: 7, count: 1, seed: 0xa668733d });
  expect(readFuzzScale({ FUZZ_COMMIT: commit, FUZZ: "all" })).toMatchObject({ first: 0, count: 10 });
  expect(readFuzzScale({ FUZZ_COMMIT: commit, FUZZ: "x3" })).toMatchObject({ first: 0, count: 30 });
  expect(readFuzzScale({ FUZZ_COMMIT: commit, FUZZ: "3/10" })).toMatchObject({ first: 3, count: 0.1 });
  expect(readFuzzScale({}).count).toBe(1);
});

test.each(["10", "-1", "x0", "3/9", "some", " "])("FUZZ=%s is refused", (text) => {
  expect(() => readFuzzScale({ FUZZ_COMMIT: commit, FUZZ: text })).toThrow(`FUZZ=${text} is not`);
});

test("ten slices have exactly the values of a run of everything, in order", () => {
  const slices = Array.from({ length: 10 }, (_, slice) => valuesMet(String(slice)));
  expect(slices.flat()).toEqual(valuesMet("all"));
  for (const slice of slices) expect([100, 101]).toContain(slice.length);
});

test("another Node repeats the beginning of a slice, and all of a long run", () => {
  const short = shortFuzzEnvironment({ FUZZ_COMMIT: commit })["FUZZ"] ?? "";
  const beginning = valuesMet(short);
  expect([short, beginning.length]).toEqual(["3/10", 10]);
  expect(beginning).toEqual(valuesMet("3").slice(0, 10));
  expect(sliceSeeds()).toHaveLength(1);
  expect(shortFuzzEnvironment({ FUZZ_COMMIT: commit, FUZZ: "all" })).toEqual({});
});

test("parts divide the runs of a slice among themselves", () => {
  expect(valuesMet("4", 3)).toEqual(valuesMet("4"));
  expect(valuesMet("all", 3)).toEqual(valuesMet("all"));
});

test("each slice has a seed of its own for other generators", () => {
  scale("all");
  const all = sliceSeeds();
  expect(new Set(all).size).toBe(10);
  scale("3");
  expect(sliceSeeds()).toEqual([all[3]]);
  expect([scaled(200), scaled(3)]).toEqual([20, 1]);
});

test("what a failure prints has the same value again, and nothing else", () => {
  scale("6");
  const property = (seen: number[]) =>
    fc.property(fc.nat(), (value) => {
      seen.push(value);
      return value % 50 !== 7;
    });
  let said = "";
  try {
    fc.assert(property([]), propertyRuns(10_000));
  } catch (error) {
    said = String(error);
  }
  const [, seed = "", path = ""] =
    /replay with: FUZZ_SEED=(\S+) FUZZ_PATH=(\S+) npm test -- scripts\//.exec(said) ?? [];
  vi.stubEnv("FUZZ_SEED", seed);
  vi.stubEnv("FUZZ_PATH", path);
  const again: number[] = [];
  expect(() => fc.assert(property(again), { ...propertyRuns(10_000), endOnFailure: true })).toThrow("failed");
  expect(said).toContain(`Counterexample: [${again[0]}]`);
  expect(again).toHaveLength(1);
});
