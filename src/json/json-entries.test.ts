import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { jsonEntries } from "./json-entries.ts";
import { nearest } from "./nearest.ts";

describe("jsonEntries", () => {
  it("keeps order, duplicates and the spelling of numbers", () => {
    const text = ' { "a" : 1.0 , "A":[1, {"x":"}"}] ,"a": -0e1,"b\\u0020":"," , "c":{}, "d": null } ';
    expect(jsonEntries(text).map(({ key, raw }) => [key, raw])).toEqual([
      ["a", "1.0"],
      ["A", '[1, {"x":"}"}]'],
      ["a", "-0e1"],
      ["b ", '","'],
      ["c", "{}"],
      ["d", "null"],
    ]);
    expect(jsonEntries("{}")).toEqual([]);
  });

  it("agrees with JSON.parse on random objects", () => {
    const check = (object: object, indent: number): void => {
      const text = JSON.stringify(object, undefined, indent);
      const entries = jsonEntries(text).map(({ key, value }) => [key, value] as const);
      const again = JSON.stringify(Object.fromEntries(entries));
      if (again !== JSON.stringify(JSON.parse(text))) throw new Error(again);
    };
    const object = fc.dictionary(fc.string(), fc.jsonValue());
    fc.assert(fc.property(object, fc.constantFrom(0, 1), check), propertyRuns(20_000));
  });
});

describe("nearest", () => {
  const keys = ["Network", "SubnetLen", "SubnetMin", "SubnetMax", "Backend", "MTU", "VNI"];
  it.each([
    ["Netwrok", "Network"],
    ["subnet-len", "SubnetLen"],
    ["SubnetLength", "SubnetLen"],
    ["backend_", "Backend"],
    ["MTUs", "MTU"],
    ["Port", undefined],
    ["x", undefined],
    ["", undefined],
    ["Network".repeat(20), undefined],
  ])("%j is meant as %j", (word, known) => {
    expect(nearest(word, keys)).toBe(known);
  });
});
