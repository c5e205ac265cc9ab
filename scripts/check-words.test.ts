import { expect, test } from "vitest";
import { exceptions, isChecked, privateWordsIn } from "./check-words.ts";

const wordsOf = (line: string) => privateWordsIn("a.ts", line, []).map(({ word }) => word);

test.each([
  ["/** Read anew when it changed. */", ["anew"]],
  ['logger.warn("x", "Somebody changed the route")', ["Somebody"]],
  ["// what the kernel is told of each", ["is told"]],
  ["export class HostKeeper {", ["Keeper"]],
  ["const keeper = leaseKeeper;", ["keeper"]],
  ["class MemberBook {", ["Book"]],
  ["It looks after the store, and keeps trying on.", ["looks after", "trying on"]],
])("%s", (line, words) => {
  expect(wordsOf(line)).toEqual(words);
});

test.each(["the agent looks up the address after a restart", "bookmark = allowWatchBookmarks", "a renewed lease"])(
  "%s has none",
  (line) => {
    expect(wordsOf(line)).toEqual([]);
  },
);

test("an exception is for one place", () => {
  const allowed = [{ file: "a.ts", text: "by the book", why: "an idiom" }];
  expect(privateWordsIn("a.ts", "// by the book\n// a book", allowed)).toMatchObject([{ file: "a.ts", line: 2 }]);
  expect(privateWordsIn("b.ts", "// by the book", allowed)).toHaveLength(1);
});

test("there are at most ten exceptions, each with a reason", () => {
  expect(exceptions.length).toBeLessThanOrEqual(10);
  for (const { why, file } of exceptions) expect(why.length, file).toBeGreaterThan(10);
});

test("tests, fixtures and the list itself are left out; docs, scripts and sources are not", () => {
  const files = [
    "src/a.ts",
    "docs/x.md",
    "scripts/a.sh",
    "src/a.test.ts",
    "test/lab/a.ts",
    "docs/style.md",
    "README.md",
  ];
  expect(files.filter(isChecked)).toEqual(["src/a.ts", "docs/x.md", "scripts/a.sh", "README.md"]);
});
