// Arithmetic on prefixes. Pure.
import {
  type Address,
  addressBits,
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "./address.ts";

/** As iproute2 prints it: without the length of a single host. */
export function hostText(prefix: Prefix): string {
  return prefixLength(prefix) === addressBits(familyOf(prefix)) ? prefixAddress(prefix) : prefix;
}

/** The prefix with its host bits cleared. */
export function networkOf(prefix: Prefix): Prefix {
  return makePrefix(networkAddress(prefix), prefixLength(prefix));
}

/** First address of the prefix. */
export function networkAddress(prefix: Prefix): Address {
  const family = familyOf(prefix);
  const hostBits = BigInt(addressBits(family) - prefixLength(prefix));
  return addressFromBigInt((addressToBigInt(prefixAddress(prefix)) >> hostBits) << hostBits, family);
}

/** Number of addresses in the prefix. */
export function prefixSize(prefix: Prefix): bigint {
  return 1n << BigInt(addressBits(familyOf(prefix)) - prefixLength(prefix));
}

/** The address `offset` places after `address`; wraps at the end of the address space. */
export function addToAddress(address: Address, offset: bigint): Address {
  return addressFromBigInt(addressToBigInt(address) + offset, familyOf(address));
}

export function containsAddress(prefix: Prefix, address: Address): boolean {
  const family = familyOf(prefix);
  if (family !== familyOf(address)) return false;
  const hostBits = BigInt(addressBits(family) - prefixLength(prefix));
  return addressToBigInt(prefixAddress(prefix)) >> hostBits === addressToBigInt(address) >> hostBits;
}

/** True when every address of `inner` lies in `outer`. */
export function containsPrefix(outer: Prefix, inner: Prefix): boolean {
  return prefixLength(outer) <= prefixLength(inner) && containsAddress(outer, prefixAddress(inner));
}

/** True when the two share an address; never across families. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return prefixLength(a) <= prefixLength(b) ? containsPrefix(a, b) : containsPrefix(b, a);
}

/** Whether one of `networks` contains the whole of `destination`. */
export function isInside(destination: Prefix, networks: readonly Prefix[]): boolean {
  return networks.some((network) => containsPrefix(network, destination));
}
