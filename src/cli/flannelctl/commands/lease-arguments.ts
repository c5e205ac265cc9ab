// How people name a lease on the command line, and how that becomes subnets. Pure.
import { FlannelError } from "../../../errors.ts";
import {
  type Address,
  type Family,
  familyOf,
  type Prefix,
  tryParseAddress,
  tryParsePrefix,
} from "../../../ip/address.ts";
import { networkOf } from "../../../ip/prefix.ts";
import type { Lease, LeasedSubnets } from "../../../lease/lease.ts";
import { formatLeaseKey, tryParseLeaseKey } from "../../../lease/lease-key.ts";

/**
 * `10.5.34.0/24`, an IPv6 prefix, or one of each joined by a comma; the form of a key (`10.5.34.0-24&fd00::-64`) too.
 * Throws `USAGE`.
 */
export function parseSubnets(text: string): LeasedSubnets {
  const named = tryParseLeaseKey(text);
  if (named !== undefined) return named;
  const prefixes = text.split(",").map((part) => parseSubnet(part, text));
  const byFamily = (family: Family) => prefixes.filter((prefix) => familyOf(prefix) === family);
  const [subnet, ...moreV4] = byFamily(4);
  const [ipv6Subnet, ...moreV6] = byFamily(6);
  if (moreV4.length + moreV6.length > 0) throw new FlannelError("USAGE", `"${text}" has two subnets of one family`);
  return { ...(subnet !== undefined && { subnet }), ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
}

function parseSubnet(part: string, whole: string): Prefix {
  const prefix = tryParsePrefix(part);
  if (prefix === undefined) {
    throw new FlannelError("USAGE", `"${whole}" is not a subnet; write it like 10.5.34.0/24 or 10.5.34.0/24,fd00::/64`);
  }
  const network = networkOf(prefix);
  if (network !== prefix) {
    throw new FlannelError("USAGE", `${prefix} is an address inside a subnet; the subnet is ${network}`);
  }
  return prefix;
}

/** A unicast address of `family` from the option `flag`. Throws `USAGE`. */
export function parsePublicAddress(text: string, family: Family, flag: string): Address {
  const address = tryParseAddress(text);
  if (address === undefined || familyOf(address) !== family || address === "0.0.0.0" || address === "::") {
    throw new FlannelError("USAGE", `${flag}: "${text}" is not an IPv${family} address of a host`);
  }
  return address;
}

/** What names a lease in the store: its subnets, or the Node whose it is, which may have nearly any name. */
export type LeaseKeys = "subnets" | "nodes";

/**
 * The lease with this key, or with this subnet (of a dual-stack lease one of the two is enough). Throws `USAGE` for what
 * can be neither.
 */
export function findLease(leases: readonly Lease[], text: string, keys: LeaseKeys): Lease | undefined {
  const byKey = leases.find((lease) => lease.key === text);
  if (byKey !== undefined || (keys === "nodes" && !text.includes("/"))) return byKey;
  const { subnet, ipv6Subnet } = parseSubnets(text);
  return leases.find(
    (lease) =>
      (subnet === undefined || lease.subnet === subnet) &&
      (ipv6Subnet === undefined || lease.ipv6Subnet === ipv6Subnet),
  );
}

/** The key that a lease of that name has, if there is one at all. Throws `USAGE`. */
export function keyOf(text: string, keys: LeaseKeys): string {
  return keys === "nodes" && !text.includes("/") ? text : formatLeaseKey(parseSubnets(text));
}
