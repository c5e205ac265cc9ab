// Shares of sets of addresses, against counting them one by one.
import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { type AddressRange, AddressSet } from "./address-set.ts";

const range = fc
  .tuple(fc.nat(40), fc.nat(12))
  .map(([first, more]): AddressRange => [BigInt(first), BigInt(first + more)]);
const ranges = fc.array(range, { maxLength: 5 });

function members(from: readonly AddressRange[]): Set<bigint> {
  const found = new Set<bigint>();
  for (const [first, last] of from) for (let value = first; value <= last; value++) found.add(value);
  return found;
}

test("ranges, their parts and their shares", () => {
  fc.assert(
    fc.property(ranges, ranges, range, (own, other, [first, last]) => {
      const set = AddressSet.of(4, own);
      const all = [...members(own)];
      const inRange = all.filter((value) => first <= value && value <= last);
      expect(set.size).toBe(BigInt(all.length));
      expect(members(set.within([first, last]).ranges)).toEqual(new Set(inRange));
      expect(members(set.without([first, last]).ranges)).toEqual(
        new Set(all.filter((value) => !inRange.includes(value))),
      );
      const inOther = all.filter((value) => members(other).has(value));
      for (const [share, part] of [
        [set.shareIn([first, last]), inRange],
        [set.shareInSet(AddressSet.of(4, other)), inOther],
      ] as const) {
        if (part.length === 0) expect(share).toBe(0);
        else if (part.length === all.length) expect(share).toBe(1);
        else expect(share).toBeCloseTo(part.length / all.length);
      }
    }),
    propertyRuns(20_000),
  );
});
