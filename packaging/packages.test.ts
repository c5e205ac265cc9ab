// What goes into packages besides programs: licence texts, the bill of materials, manual pages.
import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../test/support/fuzz.ts";
import { roff } from "./man-pages.ts";
import { billOfMaterials, bundledComponents, licenseDocument } from "./third-party.ts";

test("every package in the bundle has its licence text, version and hash", () => {
  const components = bundledComponents();
  expect(components.map(({ name }) => name)).toEqual(
    expect.arrayContaining(["@bufbuild/protobuf", "@grpc/grpc-js", "zod"]),
  );
  for (const { name, licenseText, version } of components) {
    expect(licenseText.length, name).toBeGreaterThan(500);
    expect(licenseDocument(components)).toContain(`${name} ${version}: `);
  }
  const bill = JSON.parse(billOfMaterials("1.2.3", 1_700_000_000, components));
  expect(bill.metadata).toMatchObject({ timestamp: "2023-11-14T22:13:20.000Z", component: { version: "1.2.3" } });
  for (const { name, hashes, licenses } of bill.components) {
    expect(hashes[0].content, name).toMatch(/^[0-9a-f]{128}$/);
    expect(licenses[0].expression, name).toMatch(/^[A-Za-z0-9.-]+( (AND|OR) [A-Za-z0-9.-]+)*$/);
  }
});

test("text in a manual page is never a request of roff", () => {
  const property = fc.property(fc.string({ unit: "grapheme-ascii" }), (text) => {
    for (const line of roff(text).split("\n")) expect(line).not.toMatch(/^[.']|\\(?![e&-])/);
  });
  fc.assert(property, propertyRuns(10_000));
});
