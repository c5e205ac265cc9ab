import { expect, test } from "vitest";
import { keySpaceOf, prefixRange } from "./key-space.ts";

test.each([
  ["/coreos.com/network", "/coreos.com/network/"],
  ["/coreos.com//network/", "/coreos.com/network/"],
  ["no/slash", "no/slash/"],
  ["", ""],
  ["/", "/"],
])("prefix %j", (prefix, root) => {
  expect(keySpaceOf(prefix)).toMatchObject({ root, config: `${root}config`, directory: `${root}subnets/` });
});

test("the range of no prefix is every key", () => {
  expect(keySpaceOf("").rootRange).toEqual({ start: Uint8Array.of(0), end: Uint8Array.of(0) });
});

test("the range of a directory ends before its next sibling", () => {
  const { start, end } = prefixRange("/n/subnets/");
  expect(Buffer.from(start).toString()).toBe("/n/subnets/");
  expect(Buffer.from(end).toString()).toBe("/n/subnets0");
});
