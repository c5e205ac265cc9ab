import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { addressFromBigInt, type Family, makePrefix, type Prefix } from "../../ip/address.ts";
import { networkOf, overlaps } from "../../ip/prefix.ts";
import { MessageWriter } from "../message-writer.ts";
import { nlmsg } from "../uapi.ts";
import { writeRoute } from "./route.ts";
import { mayOverlap } from "./route-overlap.ts";

/** Close to each other, so that they often overlap. */
const prefixes = fc
  .tuple(
    fc.constantFrom<Family>(4, 6),
    fc.integer({ min: 0, max: 128 }),
    fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }),
    fc.boolean(),
  )
  .map(([family, length, bits, isNear]): Prefix => {
    const size = family === 4 ? 32 : 128;
    const value = isNear ? bits & 0xffn : bits & ((1n << BigInt(size)) - 1n);
    return networkOf(makePrefix(addressFromBigInt(value, family), length % (size + 1)));
  });

function messageOf(destination: Prefix): DataView {
  const writer = new MessageWriter();
  writeRoute("set", { destination, table: 300, device: { index: 7, name: "eth0" } }).encode(writer);
  const bytes = writer.written.slice(nlmsg.headerBytes);
  return new DataView(bytes.buffer);
}

test("is what arithmetic on the prefixes says", () => {
  fc.assert(
    fc.property(prefixes, fc.array(prefixes, { maxLength: 3 }), (destination, wanted) => {
      const view = messageOf(destination);
      const expected = wanted.some(
        (prefix) => prefix.includes(":") === destination.includes(":") && overlaps(prefix, destination),
      );
      expect(mayOverlap(view, 0, view.byteLength, wanted)).toBe(expected);
    }),
    propertyRuns(20_000),
  );
});

test("damaged messages are nobody's error", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.array(prefixes, { maxLength: 3 }), (bytes, wanted) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      expect(typeof mayOverlap(view, 0, view.byteLength, wanted)).toBe("boolean");
    }),
    propertyRuns(20_000),
  );
});
