// The elements of a set of nf_tables in a form that packets are compared with. Pure.
import type { KernelElement, KernelSet, RuleVerdict } from "../netlink/nftables/expressions.ts";
import { nftSetFlag } from "../netlink/uapi.ts";
import { type AddressRange, AddressSet } from "./address-set.ts";
import { numberOf } from "./registers.ts";

export interface LoadedSet {
  readonly keyLength: number;
  /** Both ends included. One that matches what no other does comes last. */
  readonly elements: readonly SetElement[];
  /** The same as addresses, where the keys may be such. */
  readonly addresses?: AddressSet;
}

interface SetElement {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  readonly isCatchAll: boolean;
  readonly verdict?: RuleVerdict;
}

/** More are not read: what such a set holds is not known. */
export const MAX_SET_ELEMENTS = 4_096;

/** Undefined when it cannot be known: it is too long, or its elements come and go with packets and time. */
export function loadSet({ flags, keyLength }: KernelSet, elements: readonly KernelElement[]): LoadedSet | undefined {
  if (elements.length > MAX_SET_ELEMENTS || elements.some(({ isConditional }) => isConditional)) return undefined;
  if ((flags & (nftSetFlag.timeout | nftSetFlag.evaluated)) !== 0) return undefined;
  const plain = elements.filter(({ isCatchAll }) => !isCatchAll);
  const isOfIntervals = (flags & nftSetFlag.interval) !== 0 && !plain.some(({ keyEnd }) => keyEnd !== undefined);
  const ranges = isOfIntervals ? intervals(plain) : plain.map(exactly);
  const catchAll = elements
    .filter(({ isCatchAll }) => isCatchAll)
    .map((element) => ({ ...exactly(element), isCatchAll: true }));
  const all = [...ranges, ...catchAll];
  const isOfAddresses = (keyLength === 4 || keyLength === 16) && all.every((element) => isPlainKey(element, keyLength));
  return {
    keyLength,
    elements: all,
    ...(isOfAddresses && { addresses: addressesOf(all, keyLength) }),
  };
}

function isPlainKey({ from, to, isCatchAll, verdict }: SetElement, keyLength: number): boolean {
  return !isCatchAll && verdict === undefined && from.length === keyLength && to.length === keyLength;
}

function addressesOf(elements: readonly SetElement[], keyLength: number): AddressSet {
  return AddressSet.of(
    keyLength === 4 ? 4 : 6,
    elements.map(({ from, to }): AddressRange => [numberOf(from), numberOf(to)]),
  );
}

function exactly({ key, keyEnd = key, verdict }: KernelElement): SetElement {
  return { from: key, to: keyEnd.length === key.length ? keyEnd : key, isCatchAll: false, ...(verdict && { verdict }) };
}

/** The kernel keeps the begin of an interval, and the first value after it as an element of its own. */
function intervals(elements: readonly KernelElement[]): SetElement[] {
  const sorted = [...elements].sort((a, b) => Buffer.compare(a.key, b.key) || Number(b.isEnd) - Number(a.isEnd));
  const found: SetElement[] = [];
  for (const [at, element] of sorted.entries()) {
    if (element.isEnd) continue;
    const next = sorted[at + 1];
    const to = next === undefined ? new Uint8Array(element.key.length).fill(0xff) : before(next.key);
    found.push({ from: element.key, to, isCatchAll: false, ...(element.verdict && { verdict: element.verdict }) });
  }
  return found;
}

function before(key: Uint8Array): Uint8Array {
  const value = key.slice();
  for (let at = value.length - 1; at >= 0; at--) {
    const byte = value[at] ?? 0;
    value[at] = byte === 0 ? 0xff : byte - 1;
    if (byte !== 0) break;
  }
  return value;
}
