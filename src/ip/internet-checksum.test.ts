import { expect, test } from "vitest";
import { internetChecksum } from "./internet-checksum.ts";

test("is the one of RFC 1071's example, and of an odd number of bytes", () => {
  // 0001 + f203 + f4f5 + f6f7 = 2ddf0, folded ddf2.
  expect(internetChecksum(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7))).toBe(0xff_ff - 0xdd_f2);
  expect(internetChecksum(Uint8Array.of(0x12))).toBe(0xff_ff - 0x12_00);
});
