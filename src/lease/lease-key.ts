// Names of leases as flannel spells them in a store: `10.5.34.0-24`, `10.5.34.0-24&fd00:12::-56`. Pure.
// The text comes from whoever can write to the store, so everything is checked and nothing throws.
import {
  type Address,
  addressBits,
  familyOf,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
  tryParseAddress,
} from "../ip/address.ts";
import { networkAddress } from "../ip/prefix.ts";
import type { LeasedSubnets } from "./lease.ts";

/** Stands for "no IPv4 subnet" in the name of an IPv6-only lease: the only form upstream's parser accepts. */
const NO_IPV4 = "0.0.0.0-0";

/** Longest possible name is 68 characters; anything longer is not looked at. */
const MAX_KEY_LENGTH = 100;

/** Lower-case hexadecimal and lengths without leading zeros, as upstream writes them. */
const keyPattern = /^(\d+\.\d+\.\d+\.\d+)-(0|[1-9]\d?)(?:&([a-f\d:]+)-([1-9]\d{0,2}))?$/;

/**
 * Name of the lease of `subnets` (host bits clear, at least one set), as upstream flannel writes it. IPv6-only:
 * `0.0.0.0-0&<address>-<length>`.
 */
export function formatLeaseKey(subnets: LeasedSubnets): string {
  const ipv4 = subnets.subnet === undefined ? NO_IPV4 : dashed(subnets.subnet);
  return subnets.ipv6Subnet === undefined ? ipv4 : `${ipv4}&${dashed(subnets.ipv6Subnet)}`;
}

/**
 * Subnets named by the last component of a store key; undefined when it is not a lease name. Prefix lengths are 1..31
 * and 1..127 (upstream reads 5 and 7 bits; length 0 would take every address), host bits must be clear.
 */
export function tryParseLeaseKey(key: string): LeasedSubnets | undefined {
  if (key.length > MAX_KEY_LENGTH) return undefined;
  const match = keyPattern.exec(key);
  if (match === null) return undefined;
  const [, ipv4, ipv4Length, ipv6, ipv6Length] = match;
  const hasIpv4 = `${ipv4}-${ipv4Length}` !== NO_IPV4;
  const subnet = hasIpv4 ? subnetOf(ipv4, ipv4Length, 31) : undefined;
  const ipv6Subnet = ipv6 === undefined ? undefined : subnetOf(ipv6, ipv6Length, 127);
  if (hasIpv4 ? subnet === undefined : ipv6Subnet === undefined) return undefined;
  if (ipv6 !== undefined && ipv6Subnet === undefined) return undefined;
  return { ...(subnet !== undefined && { subnet }), ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
}

function subnetOf(addressText: string | undefined, lengthText: string | undefined, maxLength: number) {
  const address = addressText === undefined ? undefined : tryParseAddress(addressText);
  const length = Number(lengthText);
  if (address === undefined || length < 1 || length > maxLength || isMappedIpv4(address)) return undefined;
  const prefix = makePrefix(address, length);
  return length <= addressBits(familyOf(address)) && networkAddress(prefix) === address ? prefix : undefined;
}

/** `::ffff:a.b.c.d` is IPv4 to some programs and IPv6 to others. */
function isMappedIpv4(address: Address): boolean {
  return address.includes(":") && address.includes(".");
}

function dashed(prefix: Prefix): string {
  return `${prefixAddress(prefix)}-${prefixLength(prefix)}`;
}
