import { expect, it } from "vitest";
import { parseListenAddress } from "./metrics-flags.ts";

it.each([
  ["9101", "127.0.0.1", 9101],
  [":9101", "127.0.0.1", 9101],
  ["127.0.0.2:1", "127.0.0.2", 1],
  ["0.0.0.0:65535", "0.0.0.0", 65_535],
  ["[::]:9101", "::", 9101],
  ["[FD00::1]:9101", "fd00::1", 9101],
])("listens on %s", (text, host, port) => {
  expect(parseListenAddress(text)).toEqual({ host, port });
});

it.each([
  "0",
  "65536",
  "127.0.0.1",
  "127.0.0.1:",
  "127.0.0.256:1",
  "::1:9101",
  "[::1]",
  "[127.0.0.1]x:1",
  "a:1",
  "1:2:3",
  " 1",
])("refuses %j", (text) => {
  expect(() => parseListenAddress(text)).toThrow("must be PORT, IP:PORT or [IPv6]:PORT");
});
