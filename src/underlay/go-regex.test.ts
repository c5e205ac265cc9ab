import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { FlannelError } from "../errors.ts";
import { compileGoRegex } from "./go-regex.ts";

test.each([
  ["eth.*", "eth0", true],
  ["th0", "eth0", true],
  ["^th0", "eth0", false],
  ["(?i)ETH", "eth0", true],
  ["\\Aeth\\z", "eth0", false],
  ["\\Aeth0\\z", "eth0", true],
  ["^[[:alpha:]]+[[:digit:]]$", "eth0", true],
  ["(?P<kind>eth|ens)\\d", "ens3", true],
  ["\\Q10.1.\\E", "10x1x", false],
  ["\\Q10.1.\\E", "10.1.2.3", true],
  ["10\\.(1|2)\\.", "10.2.0.1", true],
])("%s on %s", (pattern, text, expected) => {
  expect(compileGoRegex(pattern).test(text)).toBe(expected);
});

test.each(["(", "[a", "a**", "(?=a)", "(?<!a)b", "(a)\\1"])("%s is refused", (pattern) => {
  expect(() => compileGoRegex(pattern)).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
});

test("any text compiles or is refused as bad configuration", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 40 }), (pattern) => {
      try {
        compileGoRegex(pattern).test("");
      } catch (error) {
        expect(error).toBeInstanceOf(FlannelError);
      }
    }),
    propertyRuns(20_000),
  );
});
