import { expect, test } from "vitest";
import { formatAgo, formatDuration, formatPairs, formatTable, shellLine } from "./text.ts";

test.each([
  [-5, "0 s"],
  [0.4, "0 s"],
  [59.6, "1 min"],
  [61, "1 min 1 s"],
  [3600, "1 h"],
  [86_399, "23 h 59 min"],
  [200_000, "2 d 7 h"],
])("%f seconds read %s", (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

test("an instant that cannot be read is shown as it is", () => {
  expect(formatAgo("yesterday", 0)).toBe("yesterday");
  expect(formatAgo("1970-01-01T00:00:01Z", 3000)).toBe("2 s ago");
});

test("tables align, and leave out columns nobody fills", () => {
  expect(
    formatTable(
      ["A", "EMPTY", "B"],
      [
        ["one", "", "1"],
        ["three", "", ""],
      ],
    ),
  ).toEqual(["A      B", "one    1", "three"]);
  expect(
    formatPairs([
      ["a", "1"],
      ["gone", undefined],
      ["bcd", "2"],
    ]),
  ).toEqual(["  a    1", "  bcd  2"]);
});

test("a command line for a shell: only what needs quotes has them", () => {
  const argv = ["/opt/flannel/bin/flannelctl", "join", "[fd00::1]:2379", "--name", "it's", ""];
  expect(shellLine(argv)).toBe("/opt/flannel/bin/flannelctl join '[fd00::1]:2379' --name 'it'\\''s' ''");
});
