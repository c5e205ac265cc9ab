import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { keySpaceOf } from "../../etcd-api/key-space.ts";
import { NetworkKeys } from "./network-keys.ts";

const keys = new NetworkKeys(keySpaceOf("/coreos.com/network"));

describe("NetworkKeys", () => {
  test.each([
    ["/coreos.com/network/a/config", "a"],
    ["/coreos.com/network/red.1/config", "red.1"],
    ["/coreos.com/network/config", undefined],
    ["/coreos.com/network//config", undefined],
    ["/coreos.com/network/a/config/x", undefined],
    ["/coreos.com/network/a/subnets/10.1.2.0-24", undefined],
    ["/coreos.com/network/a/b/config", undefined],
  ])("%s is the configuration of %s", (key, name) => {
    expect(keys.nameOfConfig(Buffer.from(key))).toBe(name);
  });

  test("each network is met once, whatever else stands below the prefix", () => {
    const part = fc.string({ minLength: 1, maxLength: 4, unit: fc.constantFrom("a", "b", "-", ".", "0", "/", "~") });
    fc.assert(
      fc.property(fc.uniqueArray(part, { maxLength: 30 }), (parts) => {
        const sorted = parts.map((one) => Buffer.from(`/coreos.com/network/${one}`)).sort(Buffer.compare);
        const met: string[] = [];
        let start: Uint8Array = keys.range.start;
        for (;;) {
          const first = sorted.find((key) => Buffer.compare(key, start) >= 0);
          if (first === undefined) break;
          const place = keys.placeOf(first);
          if (place.config !== undefined) met.push(place.name);
          expect(Buffer.compare(place.next, first)).toBe(1);
          start = place.next;
        }
        const named = parts.filter((one) => one.indexOf("/") > 0).map((one) => one.slice(0, one.indexOf("/")));
        expect(met.toSorted()).toEqual([...new Set(named)].toSorted());
      }),
      propertyRuns(20_000),
    );
  });
});
