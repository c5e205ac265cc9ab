import fc from "fast-check";
import { expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { FlannelError } from "../../errors.ts";
import { isLoopback, parseListenAddress, parseListenTarget } from "./listen-address.ts";

it.each([
  ["127.0.0.1:2379", "127.0.0.1", 2379, true],
  ["127.8.0.1:0", "127.8.0.1", 0, true],
  ["[::1]:2379", "::1", 2379, true],
  ["localhost:1", "localhost", 1, true],
  ["0.0.0.0:2379", "0.0.0.0", 2379, false],
  ["[::]:2379", "::", 2379, false],
  ["store.example:65535", "store.example", 65_535, false],
  ["127.0.0.1.example:1", "127.0.0.1.example", 1, false],
])("%s", (text, host, port, loopback) => {
  const address = parseListenAddress(text);
  expect(address).toEqual({ host, port });
  expect(isLoopback(address)).toBe(loopback);
});

it.each(["", "127.0.0.1", ":2379", "::1:2379", "127.0.0.1:65536", "a b:1", "http://127.0.0.1:2379"])(
  "refuses %j",
  (text) => {
    expect(() => parseListenAddress(text)).toThrow("must be HOST:PORT");
  },
);

it("takes a socket by its whole path", () => {
  expect(parseListenTarget("unix:///run/flannel store.sock")).toEqual({ path: "/run/flannel store.sock" });
  expect(parseListenTarget("[::1]:2379")).toEqual({ host: "::1", port: 2379 });
  for (const text of ["unix://", "unix://store.sock", "unix:///a\n", `unix:///${"a".repeat(107)}`]) {
    expect(() => parseListenTarget(text)).toThrow("whole path, of at most 107 bytes");
  }
});

it("meets any text with an address or a refusal", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[[\]:.\dab]{0,20}$/)), (text) => {
      try {
        const { port } = parseListenAddress(text);
        expect(port).toBeLessThanOrEqual(65_535);
      } catch (error) {
        expect(error).toBeInstanceOf(FlannelError);
      }
    }),
    propertyRuns(100_000),
  );
});
