import fc from "fast-check";
import { expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { FlannelError } from "../../errors.ts";
import { parseUsers } from "./users-file.ts";

it("reads names and passwords, with colons in the password", () => {
  const users = parseUsers("# who may\n\nflannel:se:cret\r\nother: with spaces \n", "users");
  expect([...users]).toEqual([
    ["flannel", "se:cret"],
    ["other", " with spaces "],
  ]);
});

it("meets any text with users or a refusal that does not repeat it", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a:#\n ]{0,12}$/)), (text) => {
      try {
        for (const [name, password] of parseUsers(text, "FILE")) expect([name, password]).not.toContain("");
      } catch (error) {
        expect(error).toBeInstanceOf(FlannelError);
        expect(String(error)).toMatch(/--users-file FILE(: line \d+ is not name:password| names no user)$/);
      }
    }),
    propertyRuns(100_000),
  );
});
