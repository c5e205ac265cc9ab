import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { oneLine, printable, printableDeep, printableDocument, printableJson } from "./foreign-text.ts";

test("control and direction characters are made visible, everywhere in a value", () => {
  expect(printable("a\u001b[2J\n\u009b\u202eé")).toBe("a\\x1b[2J\\x0a\\x9b\\u202eé");
  expect(oneLine("a\r\n\tb\u0007")).toBe("a b\\x07");
  expect(printableDeep({ "k\u0007": ["\u0000", 1, null] })).toEqual({ "k\\x07": ["\\x00", 1, null] });
});

test("a document keeps its lines; what JSON does not allow is seen", () => {
  expect(printableDocument('{\r\n\t"a": 1,\r"b": "\u009b31m"\n}\u001b[2J')).toBe(
    '{\r\n\t"a": 1,\n"b": "\\u009b31m"\n}\\u001b[2J',
  );
});

test("JSON of any value stays the same value, and nothing in it drives a terminal", () => {
  const character = fc.oneof(
    fc.integer({ min: 0, max: 0xff }),
    fc.integer({ min: 0x2000, max: 0x2070 }),
    fc.nat(0xffff),
  );
  const text = fc.array(character, { maxLength: 8 }).map((codes) => String.fromCharCode(...codes));
  const value = fc.oneof(text, fc.dictionary(text, text), fc.array(text, { maxLength: 3 }));
  const check = (item: unknown) => {
    const json = JSON.stringify(item);
    for (const shown of [printableJson(json), printableDocument(json)]) {
      expect(JSON.parse(shown)).toEqual(JSON.parse(json));
      // Controls, marks of direction, separators of lines: by their Unicode properties.
      expect(shown).not.toMatch(/\p{Cc}|\p{Bidi_Control}|\p{Zl}|\p{Zp}/u);
    }
  };
  fc.assert(fc.property(value, check), propertyRuns(100_000));
});
