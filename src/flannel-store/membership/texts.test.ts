// What people type: tokens, addresses, host names.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { hasCode } from "../../errors.ts";
import { parseStoreAddress } from "../grpc/store-address.ts";
import { formatToken, parseToken } from "./join-token.ts";
import { isValidHostName } from "./names.ts";

const secret = "aB3_-".repeat(7).slice(0, 32);
const pin = "xY9-_".repeat(9).slice(0, 43);
const token = `abcd2345.${secret}.${pin}`;

/** Nothing else may come out of these parsers. */
function isUsageError(action: () => unknown): boolean {
  try {
    action();
    return false;
  } catch (error) {
    if (hasCode(error, "USAGE")) return true;
    throw error;
  }
}

describe("tokens", () => {
  it("are read as they are written, with blanks around them", () => {
    expect(formatToken(parseToken(token))).toBe(token);
    expect(parseToken(` ${token}\n`)).toEqual({ id: "abcd2345", secret, pin });
  });

  it("with a slip are refused without being repeated, for random texts", () => {
    const slip = fc
      .tuple(fc.nat(token.length), fc.constantFrom("", ".", " ", "%", "A"), fc.nat(2))
      .map(([at, piece, length]) => token.slice(0, at) + piece + token.slice(at + length));
    const check = (text: string) => {
      try {
        if (formatToken(parseToken(text)) !== text.trim()) throw new Error(`other: ${text}`);
      } catch (error) {
        if (!hasCode(error, "USAGE")) throw error;
        if (error.message.includes(secret)) throw new Error("told the secret");
      }
    };
    fc.assert(fc.property(fc.oneof(slip, fc.string()), check), propertyRuns(100_000));
  });
});

describe("addresses of the store", () => {
  it.each([
    ["10.0.0.1", "https://10.0.0.1:2379"],
    ["10.0.0.1:443", "https://10.0.0.1:443"],
    ["https://10.0.0.1:2379/", "https://10.0.0.1:2379"],
    ["fd00::1", "https://[fd00::1]:2379"],
    ["[fd00::1]:99", "https://[fd00::1]:99"],
    ["store.lan", "https://store.lan:2379"],
    [" store:1 ", "https://store:1"],
  ])("%j is %s", (text, url) => {
    expect(parseStoreAddress(text).url).toBe(url);
  });

  it.each([
    "",
    ":2379",
    "10.0.0.1:0",
    "10.0.0.1:70000",
    "10.0.0.256",
    "http://10.0.0.1",
    "a b",
    "-x",
    "a@b",
    "[10.0.0.1",
    "a:b:c",
    "x/y",
  ])("%j is none", (text) => {
    expect(isUsageError(() => parseStoreAddress(text))).toBe(true);
  });

  it("what is taken for one is a URL of that host and port, for random texts", () => {
    const pieces = fc.constantFrom(
      "10.0.0.1",
      ":",
      "[",
      "]",
      "fd00::1",
      "2379",
      "a",
      ".",
      "-",
      "/",
      "@",
      "https://",
      "#",
      "?",
      "%",
    );
    const made = fc.array(pieces, { maxLength: 6 }).map((parts) => parts.join(""));
    const check = (text: string) => {
      let parsed: ReturnType<typeof parseStoreAddress>;
      try {
        parsed = parseStoreAddress(text);
      } catch (error) {
        if (hasCode(error, "USAGE")) return;
        throw error;
      }
      const url = new URL(parsed.url);
      const isSame = url.pathname === "/" && url.search === "" && url.username === "" && url.hash === "";
      if (!isSame || Number(url.port || 443) !== parsed.port) throw new Error(`${text} is ${parsed.url}`);
    };
    fc.assert(fc.property(fc.oneof(made, made, fc.string()), check), propertyRuns(100_000));
  });
});

it.each([
  ["h1", true],
  ["web-3.example.org", true],
  ["1", true],
  ["a".repeat(63), true],
  ["a".repeat(64), false],
  ["", false],
  ["H1", false],
  ["h_1", false],
  ["-h", false],
  ["h-", false],
  ["h.", false],
  ["h..i", false],
  ["h-.i", false],
  ["h 1", false],
  ["h1\n", false],
  ["../x", false],
])("%j as a host name: %s", (name, isGood) => {
  expect(isValidHostName(name)).toBe(isGood);
});
