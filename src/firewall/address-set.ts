// Addresses as ranges, and which share of them a rule means: all, none or some. Pure.
import {
  type Address,
  addressBits,
  addressToBigInt,
  type Family,
  familyOf,
  type Prefix,
  prefixLength,
} from "../ip/address.ts";
import { networkAddress } from "../ip/prefix.ts";

/** Both ends included. */
export type AddressRange = readonly [first: bigint, last: bigint];

export class AddressSet {
  readonly family: Family;
  /** Sorted, apart from each other. */
  readonly ranges: readonly AddressRange[];
  readonly size: bigint;

  private constructor(family: Family, ranges: readonly AddressRange[]) {
    this.family = family;
    this.ranges = ranges;
    this.size = ranges.reduce((sum, [first, last]) => sum + last - first + 1n, 0n);
  }

  /** In any order, overlapping or not. */
  static of(family: Family, ranges: readonly AddressRange[]): AddressSet {
    const sorted = ranges.filter(([first, last]) => first <= last).sort((a, b) => (a[0] < b[0] ? -1 : 1));
    const merged: AddressRange[] = [];
    for (const [first, last] of sorted) {
      const before = merged.at(-1);
      if (before === undefined || first > before[1]) merged.push([first, last]);
      else if (last > before[1]) merged[merged.length - 1] = [before[0], last];
    }
    return new AddressSet(family, merged);
  }

  static ofAddresses(family: Family, addresses: readonly Address[]): AddressSet {
    const numbers = addresses.filter((address) => familyOf(address) === family).map(addressToBigInt);
    return AddressSet.of(
      family,
      numbers.map((number) => [number, number]),
    );
  }

  static ofPrefix(prefix: Prefix): AddressSet {
    return AddressSet.of(familyOf(prefix), [rangeOf(prefix)]);
  }

  without([first, last]: AddressRange): AddressSet {
    return AddressSet.of(
      this.family,
      this.ranges.flatMap(([from, to]): AddressRange[] => [
        [from, to < first ? to : first - 1n],
        [from > last ? from : last + 1n, to],
      ]),
    );
  }

  /** Those also in the range. */
  within([first, last]: AddressRange): AddressSet {
    return AddressSet.of(
      this.family,
      this.ranges.map(([from, to]) => [from > first ? from : first, to < last ? to : last]),
    );
  }

  /** 1: all of this set are in the range, 0: none. */
  shareIn([first, last]: AddressRange): number {
    let count = 0n;
    for (let at = this.#firstNotBefore(first); at < this.ranges.length; at++) {
      const [from, to] = this.ranges[at] as AddressRange;
      if (from > last) break;
      count += (to < last ? to : last) - (from > first ? from : first) + 1n;
    }
    return this.#share(count);
  }

  /** 1: all of this set are in the other one, 0: none. */
  shareInSet(other: AddressSet): number {
    let count = 0n;
    for (const [first, last] of this.ranges) {
      for (let at = other.#firstNotBefore(first); at < other.ranges.length; at++) {
        const [from, to] = other.ranges[at] as AddressRange;
        if (from > last) break;
        count += (to < last ? to : last) - (from > first ? from : first) + 1n;
      }
    }
    return this.#share(count);
  }

  #share(count: bigint): number {
    if (count === 0n) return 0;
    // Never rounded to all or none.
    return count === this.size ? 1 : Math.min(Math.max(Number(count) / Number(this.size), 1e-9), 1 - 1e-9);
  }

  /** Position of the first range that does not end before `value`. */
  #firstNotBefore(value: bigint): number {
    let [low, high] = [0, this.ranges.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.ranges[middle] as AddressRange)[1] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export function rangeOf(prefix: Prefix): AddressRange {
  const first = addressToBigInt(networkAddress(prefix));
  const hostBits = BigInt(addressBits(familyOf(prefix)) - prefixLength(prefix));
  return [first, first | ((1n << hostBits) - 1n)];
}
