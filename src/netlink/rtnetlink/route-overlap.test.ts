import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import {
  addressFromBigInt,
  type Family,
  familyOf,
  makePrefix,
  type Prefix,
  parsePrefix,
  prefixAddress,
} from "../../ip/address.ts";
import { containsAddress, networkOf, overlaps } from "../../ip/prefix.ts";
import { MessageWriter } from "../message-writer.ts";
import { nlmsg } from "../uapi.ts";
import type { DumpFilter } from "./object-codec.ts";
import { type RouteSpec, writeRoute } from "./route.ts";
import { mayFitRoute, mayLeadBy, mayOverlap } from "./route-overlap.ts";

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

function messageOf(
  destination: Prefix,
  parts: Omit<Partial<RouteSpec>, "device"> & { device?: undefined } = {},
): DataView {
  const writer = new MessageWriter();
  const device = "device" in parts ? {} : { device: { index: 7, name: "eth0" } };
  const { device: _, ...rest } = parts;
  writeRoute("set", { destination, table: 300, ...device, ...rest }).encode(writer);
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

test("a gateway is looked for in the prefixes", () => {
  fc.assert(
    fc.property(prefixes, fc.array(prefixes, { maxLength: 3 }), fc.boolean(), (near, wanted, hasGateway) => {
      const gateway = prefixAddress(near);
      const destination = familyOf(near) === 4 ? parsePrefix("192.0.2.0/24") : parsePrefix("2001:db8::/32");
      const view = messageOf(destination, hasGateway ? { gateway } : {});
      const expected = hasGateway && wanted.some((prefix) => containsAddress(prefix, gateway));
      expect(mayLeadBy(view, 0, view.byteLength, wanted)).toBe(expected);
    }),
    propertyRuns(20_000),
  );
  // Where the message has it elsewhere, nobody can tell.
  const byObject = messageOf(parsePrefix("192.0.2.0/24"), { device: undefined, nextHopId: 7 });
  expect(mayLeadBy(byObject, 0, byObject.byteLength, [])).toBe(true);
});

test("routes of one protocol are left out", () => {
  const view = messageOf(parsePrefix("192.0.2.0/24"), { protocol: 241 });
  expect(
    [241, 2, undefined].map((exceptProtocol) => mayFitRoute(view, 0, view.byteLength, except(exceptProtocol))),
  ).toEqual([false, true, true]);
});

function except(protocol: number | undefined): DumpFilter {
  return protocol === undefined ? {} : { exceptProtocol: protocol };
}

test("damaged messages are nobody's error", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.array(prefixes, { maxLength: 3 }), (bytes, wanted) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const filter = { overlapping: wanted, gatewayIn: wanted, exceptProtocol: 241 };
      expect(typeof mayFitRoute(view, 0, view.byteLength, filter)).toBe("boolean");
    }),
    propertyRuns(20_000),
  );
});
