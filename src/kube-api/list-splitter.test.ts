import fc from "fast-check";
import { expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { ListSplitter } from "./list-splitter.ts";

/** The document, in pieces that end at `cuts`. */
function split(text: string, cuts: readonly number[], maxItemBytes = 1_000_000) {
  const items: unknown[] = [];
  const splitter = new ListSplitter((item) => items.push(JSON.parse(new TextDecoder().decode(item))), maxItemBytes);
  const bytes = new TextEncoder().encode(text);
  const ends = [...new Set([...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b);
  let from = 0;
  for (const end of ends) {
    splitter.push(bytes.subarray(from, end));
    from = end;
  }
  return { items, rest: splitter.end() };
}

it("gives what JSON.parse gives, wherever the bytes are cut", () => {
  const document = fc.record({
    head: fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.object({ maxDepth: 2 }))),
    items: fc.array(
      fc.object({ maxDepth: 3, values: [fc.string({ unit: "binary" }), fc.integer(), fc.constant(null)] }),
    ),
    indent: fc.constantFrom(0, 1),
    cuts: fc.array(fc.nat(), { maxLength: 12 }),
  });
  fc.assert(
    fc.property(document, ({ head, items, indent, cuts }) => {
      const { items: _, ...others } = head;
      const whole = { ...others, items, last: "[{" };
      const found = split(JSON.stringify(whole, undefined, indent), cuts);
      const expected = JSON.stringify(JSON.parse(JSON.stringify(items)));
      if (JSON.stringify(found.items) !== expected) throw new Error(`${JSON.stringify(found.items)} ${expected}`);
      const rest = JSON.stringify({ ...(JSON.parse(JSON.stringify(whole)) as object), items: [] });
      if (JSON.stringify(found.rest) !== rest) throw new Error(JSON.stringify(found.rest));
    }),
    propertyRuns(5_000),
  );
});

it("refuses an item that is too long, and a document that is cut off", () => {
  const text = JSON.stringify({ items: ["x".repeat(100)] });
  expect(() => split(text, [], 50)).toThrow(RangeError);
  expect(() => split(text.slice(0, -3), [])).toThrow(SyntaxError);
});
