// biome-ignore-all lint/suspicious/noTemplateCurlyInString: commands have variables of their own
import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { commandWords, trimWhiteSpace } from "./command-words.ts";

const variables = { SUBNET: "10.5.3.0/24", PUBLIC_IP: "192.0.2.3", EMPTY: "", "a-b": "odd", "1": "one" };

test.each([
  ["ip route add $SUBNET via ${PUBLIC_IP}", ["ip", "route", "add", "10.5.3.0/24", "via", "192.0.2.3"]],
  ['ip route add "$SUBNET"', ["ip", "route", "add", '"10.5.3.0/24"']],
  ["  a\t\nb\u0085c\u00a0d\u3000 ", ["a", "b", "c", "d"]],
  ["a\ufeffb", ["a\ufeffb"]],
  ["a $EMPTY $UNKNOWN b", ["a", "", "", "b"]],
  ["x${}y ${ ${SUBNET", ["xy", "", "SUBNET"]],
  ["$ a$ $= $%", ["$", "a$", "$=", "$%"]],
  ["$SUBNET_x $SUBNET-x $1x $$ ${a-b}", ["", "10.5.3.0/24-x", "onex", "", "odd"]],
  ["a;b && c|d `e`", ["a;b", "&&", "c|d", "`e`"]],
  ["", []],
])("%j is %j", (command, words) => {
  expect(commandWords(command, variables)).toEqual(words);
});

/** Go's os.Expand, byte by byte, as its documentation and source describe it. */
function expandSlowly(word: string, values: Readonly<Record<string, string>>): string {
  let result = "";
  for (let at = 0; at < word.length; at++) {
    if (word[at] !== "$" || at + 1 === word.length) {
      result += word[at];
      continue;
    }
    const [name, width] = shellName(word.slice(at + 1));
    if (name === "" && width === 0) result += "$";
    else if (name !== "") result += values[name] ?? "";
    at += width;
  }
  return result;
}

function shellName(rest: string): [string, number] {
  if (rest.startsWith("{")) {
    const end = rest.indexOf("}");
    if (end < 0) return ["", 1];
    return [rest.slice(1, end), end + 1];
  }
  if ("*#$@!?-0123456789".includes(rest[0] ?? " ")) return [rest[0] ?? "", 1];
  let width = 0;
  while (width < rest.length && /[A-Za-z0-9_]/.test(rest[width] ?? "")) width++;
  return [rest.slice(0, width), width];
}

test("variables are replaced as Go replaces them", () => {
  const piece = fc.constantFrom("$", "{", "}", "A", "B1", "_", "-", "1", "x", "*", "/", ".", "$A", "${A}", "=");
  const word = fc.array(piece, { minLength: 1, maxLength: 12 }).map((pieces) => pieces.join(""));
  const values = { A: "va", B1: "vb", _: "under", "1": "one", "*": "star", "-": "dash", AA: "two" };
  fc.assert(
    fc.property(word, (text) => {
      expect(commandWords(text, values)).toEqual([expandSlowly(text, values)]);
    }),
    propertyRuns(100_000),
  );
});

test("white space around output goes, Unicode's as well", () => {
  expect(trimWhiteSpace("\u00a0 a b\r\n\u0085")).toBe("a b");
});
