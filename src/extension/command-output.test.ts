import { expect, test } from "vitest";
import { shownOutput } from "./command-output.ts";

test("output is shown on one line, escaped, limited to its end", () => {
  expect(shownOutput("a\r\n\u001b[2Jb\n", {})).toBe("a \\x1b[2Jb");
  const long = shownOutput(`${"x".repeat(5_000)}end`, {});
  expect(long).toHaveLength(503);
  expect(long).toMatch(/^\.\.\.x+end$/);
});

test("secrets of the environment and keys are not shown", () => {
  const environment = { FLANNELD_ETCD_PASSWORD: "hunter22", API_TOKEN: "abc", PATH: "/usr/bin" };
  expect(shownOutput("hunter22 abc /usr/bin", environment)).toBe("(hidden) abc /usr/bin");
  const key = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE=";
  expect(shownOutput(`Key is not the correct length: \`${key}'`, {})).toBe("Key is not the correct length: `(hidden)'");
});
