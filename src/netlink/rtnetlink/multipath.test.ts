// Several next hops of one route: what is written is read, and no bytes are an error or read beyond the end.
import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { type Address, addressFromBytes, addressToBytes } from "../../ip/address.ts";
import { decodeNextHops } from "./multipath.ts";

const address = fc
  .oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map(addressFromBytes);
interface Hop {
  readonly outIndex: number;
  readonly gateway: Address | undefined;
  readonly flags: number;
  readonly weight: number;
}

const hop: fc.Arbitrary<Hop> = fc.record({
  outIndex: fc.integer({ min: 1, max: 0x7fffffff }),
  gateway: fc.option(address, { nil: undefined }),
  flags: fc.nat(255),
  weight: fc.nat(255),
});

/** As the kernel writes them. */
function encode(hops: readonly Hop[]): DataView {
  const bytes = hops.flatMap(({ outIndex, gateway, flags, weight }) => {
    const payload = gateway === undefined ? [] : [...addressToBytes(gateway)];
    const attribute = payload.length === 0 ? [] : [payload.length + 4, 0, 5, 0, ...payload];
    const device = [...new Uint8Array(Uint32Array.of(outIndex).buffer)];
    return [8 + attribute.length, 0, flags, weight, ...device, ...attribute];
  });
  return new DataView(Uint8Array.from(bytes).buffer);
}

test("what the kernel writes is read, in its order", () => {
  fc.assert(
    fc.property(fc.array(hop, { maxLength: 8 }), (hops) => {
      const view = encode(hops);
      expect(decodeNextHops(view, 0, view.byteLength)).toEqual(
        hops.map(({ outIndex, gateway, flags }) => ({
          outIndex,
          ...(gateway === undefined ? {} : { gateway }),
          isUsable: (flags & 17) === 0,
        })),
      );
    }),
    propertyRuns(1_000),
  );
});

test("no bytes are an error, and those behind the end are not read", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.uint8Array({ maxLength: 40 }), (bytes, behind) => {
      const both = new DataView(Uint8Array.from([...bytes, ...behind]).buffer);
      const alone = new DataView(Uint8Array.from(bytes).buffer);
      const found = decodeNextHops(both, 0, bytes.length);
      expect(found).toEqual(decodeNextHops(alone, 0, bytes.length));
      expect(found.length).toBeLessThanOrEqual(bytes.length / 8);
    }),
    propertyRuns(20_000),
  );
});

test("a damaged list gives what stands before the damage", () => {
  fc.assert(
    fc.property(fc.array(hop, { minLength: 1, maxLength: 8 }), fc.nat(), (hops, cut) => {
      const view = encode(hops);
      const whole = decodeNextHops(view, 0, view.byteLength);
      const part = decodeNextHops(view, 0, cut % view.byteLength);
      expect(part).toEqual(whole.slice(0, part.length));
    }),
    propertyRuns(1_000),
  );
});
