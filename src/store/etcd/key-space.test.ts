import { expect, test } from "vitest";
import { keySpaceOf, prefixRange } from "./key-space.ts";

test.each([
  ["/coreos.com/network", "/coreos.com/network/config", "/coreos.com/network/subnets/"],
  ["/coreos.com//network/", "/coreos.com/network/config", "/coreos.com/network/subnets/"],
  ["no/slash", "no/slash/config", "no/slash/subnets/"],
  ["", "config", "subnets/"],
  ["/", "/config", "/subnets/"],
])("prefix %j", (prefix, config, directory) => {
  expect(keySpaceOf(prefix)).toMatchObject({ config, directory });
});

test("the range of a directory ends before its next sibling", () => {
  const { start, end } = prefixRange("/n/subnets/");
  expect(Buffer.from(start).toString()).toBe("/n/subnets/");
  expect(Buffer.from(end).toString()).toBe("/n/subnets0");
});
