import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { arrayDropper } from "./drop-arrays.ts";

const names = ["images", "managedFields"];
const drop = arrayDropper(names);
const dropped = (json: string) => drop(Buffer.from(json));

/** The same by parsing all of it. */
function expected(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(expected);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => {
      const isNamed = names.some((name) => key === name || key.endsWith(`"${name}`));
      return [key, isNamed && Array.isArray(member) ? null : expected(member)];
    }),
  );
}

describe("arrayDropper", () => {
  it("leaves the arrays of those names out, and nothing else", () => {
    const node = {
      metadata: { name: "n1", managedFields: [{ "f:images": {} }], annotations: { note: '"images":[1' } },
      spec: { podCIDRs: ["10.1.0.0/24"] },
      status: { images: [{ names: ["a]\\", 'b"}'], sizeBytes: 1 }], nodeInfo: { images: "none" } },
    };
    expect(JSON.parse(dropped(JSON.stringify(node)))).toEqual({
      metadata: { ...node.metadata, managedFields: null },
      spec: node.spec,
      status: { images: null, nodeInfo: { images: "none" } },
    });
  });

  it("of any JSON", () => {
    const key = fc.oneof(fc.constantFrom(...names, 'x"images', 'images":[', "\\", '\\"images'), fc.string());
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: "small" },
        fc.constantFrom(null, true, 1.5, '"', "\\", '"images":[', "]", "ü😀"),
        fc.string(),
        fc.array(tie("value"), { maxLength: 4 }),
        fc.dictionary(key, tie("value"), { maxKeys: 4 }),
      ),
    }));
    const property = fc.property(value, (any) => {
      const json = JSON.stringify(any);
      expect(JSON.parse(dropped(json))).toEqual(JSON.parse(JSON.stringify(expected(JSON.parse(json)))));
    });
    fc.assert(property, propertyRuns(100_000));
  });

  it("leaves what is no JSON as it is, and never hangs", () => {
    for (const text of ['{"images":[', '{"images":["', '{"images":[{]', '"images":[\\"', ""]) {
      expect(() => JSON.parse(dropped(text))).toThrow(SyntaxError);
    }
    const bytes = fc.array(fc.constantFrom('"images":[', '"', "\\", "[", "]", "{", "}", "x"), { maxLength: 30 });
    const property = fc.property(bytes, (parts) => typeof dropped(parts.join("")) === "string");
    fc.assert(property, propertyRuns(100_000));
  });
});
