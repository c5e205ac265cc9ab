// Where a text stops being JSON, against the engine's own verdict.
import fc from "fast-check";
import { expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { describeJsonError, findError } from "./json-error.ts";

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

it("refuses exactly what the engine refuses, and nothing before the place is wrong", () => {
  const damaged = fc
    .tuple(fc.json(), fc.nat(), fc.constantFrom("", ",", "}", "]", '"', "\\", "1", "x", "\n", ":"), fc.nat(2))
    .map(([json, place, word, cut]) => {
      const at = place % (json.length + 1);
      return json.slice(0, at) + word + json.slice(at + cut);
    });
  const property = fc.property(fc.oneof(damaged, fc.json(), fc.string()), (text) => {
    const error = findError(text);
    expect(error === undefined).toBe(isJson(text));
    if (error === undefined) return;
    // What stands before the place is JSON, or only the beginning of some.
    expect(findError(text.slice(0, error.at))?.at ?? error.at).toBe(error.at);
  });
  fc.assert(property, propertyRuns(100_000));
});

it.each([
  [
    '{ "Network": "10.5.0.0/16",\n "Backend": { "Type": "vxlan", } }',
    "line 2, column 32: a key in double quotes is missing",
  ],
  ['{"a":1 "b":2}', "line 1, column 8: a comma or a closing brace is missing"],
  ['{"a" 1}', "line 1, column 6: a colon is missing"],
  ["{'a':1}", "line 1, column 2: a key in double quotes is missing"],
  ["[1,\n2", "line 2, column 2: the text ends here, but a comma or a closing bracket is missing"],
  ['{"a":"b}', "line 1, column 6: a string is malformed or not closed"],
  ["{} x", "line 1, column 4: something follows the JSON value"],
  ["", "line 1, column 1: the text ends here, but a value is missing"],
  ["[01]", "line 1, column 3: a comma or a closing bracket is missing"],
])("%s", (text, message) => {
  expect(describeJsonError(text)).toBe(message);
});

it("is not impressed by depth", () => {
  expect(describeJsonError("[".repeat(60_000))).toContain("column 60001");
});
