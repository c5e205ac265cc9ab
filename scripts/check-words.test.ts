import { expect, test } from "vitest";
import { complaintsOf, isChecked, privateWordsIn } from "./check-words.ts";

const wordsOf = (line: string) => privateWordsIn("a.ts", line, []).map(({ word }) => word);

test.each([
  ["/** Read anew when it changed. */", ["anew"]],
  ["const reading = this.#readAnew(lease);", ["Anew"]],
  ["follower.beginAnew();", ["Anew"]],
  ['logger.warn("x", "Somebody changed the route")', ["Somebody"]],
  ["// what the kernel is told of each", ["is told"]],
  ["export class HostKeeper {", ["Keeper"]],
  ["const keeper = leaseKeeper;", ["keeper"]],
  ["class MemberBook {", ["Book"]],
  ["It looks after the store, and keeps trying on.", ["looks after", "trying on"]],
])("%s", (line, words) => {
  expect(wordsOf(line)).toEqual(words);
});

test.each([
  "the agent looks up the address after a restart",
  "bookmark = allowWatchBookmarks",
  "a renewed lease",
  "swag v1.0 h1:6ANewI3S62dbzY",
])("%s has none", (line) => {
  expect(wordsOf(line)).toEqual([]);
});

test("an exception is for one place", () => {
  const allowed = [{ file: "a.ts", text: "by the book", why: "an idiom" }];
  expect(privateWordsIn("a.ts", "// by the book\n// a book", allowed)).toMatchObject([{ file: "a.ts", line: 2 }]);
  expect(privateWordsIn("b.ts", "// by the book", allowed)).toHaveLength(1);
});

test("one hit is one too many, and so is an exception that nothing needs", () => {
  const allowed = [{ file: "a.ts", text: "by the book", why: "an idiom" }];
  const clean = { file: "a.ts", text: "// by the book" };
  expect(complaintsOf([clean], allowed)).toEqual([]);
  expect(complaintsOf([clean, { file: "b.ts", text: "// x\n// somebody" }], allowed)).toEqual([
    expect.stringMatching(/^b\.ts:2: "somebody": write .*\n {4}\/\/ somebody$/),
  ]);
  expect(complaintsOf([{ file: "a.ts", text: "// plain" }], allowed)).toEqual([
    'scripts/check-words.ts: the exception "by the book" in a.ts is not needed',
  ]);
});

test("tests, fixtures and the list itself are left out; docs, scripts and sources are not", () => {
  const files = [
    ...["src/a.ts", "docs/x.md", "scripts/a.sh", "README.md", "src/dashboard/app.tsx", "src/dashboard/page.html"],
    ...["cni/flannel", "bin/flanneld", "deploy/kubernetes/kube-flannel.yml"],
  ];
  const others = ["src/a.test.ts", "test/lab/a.ts", "docs/style.md", "lab/go.sum"];
  expect([...files, ...others].filter(isChecked)).toEqual(files);
});
