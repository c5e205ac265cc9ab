import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../test/support/fuzz.ts";
import { listChanges } from "./list-changes.ts";

/** What the changes make of the list before. */
function rebuilt<T>(before: readonly T[], after: readonly T[]): T[] {
  const parts: T[] = [];
  let end = 0;
  for (const change of listChanges(before, after)) {
    parts.push(...before.slice(end, change.start), ...after.slice(change.startAfter, change.endAfter));
    end = change.endBefore;
  }
  return [...parts, ...before.slice(end)];
}

const objects = Array.from({ length: 8 }, (_, name) => ({ name }));

test("the changes lead from any list to any other", () => {
  const list = fc.array(fc.constantFrom(...objects), { maxLength: 20 });
  fc.assert(
    fc.property(list, list, (before, after) => {
      expect(rebuilt(before, after)).toEqual(after);
    }),
    propertyRuns(100_000),
  );
});

test("a few changes in a long list are found apart from each other, and nothing between them", () => {
  const before = Array.from({ length: 1_000 }, (_, name) => ({ name }));
  const [one, two] = [{ name: -1 }, { name: -2 }];
  const after = before.toSpliced(900, 3).toSpliced(500, 1, one).toSpliced(10, 0, two);
  const sizes = listChanges(before, after).map((change) => [
    change.endBefore - change.start,
    change.endAfter - change.startAfter,
  ]);
  expect(sizes).toEqual([
    [0, 1],
    [1, 1],
    [3, 0],
  ]);
  expect(rebuilt(before, after)).toEqual(after);
});
