// Which subnets are free and which leases fit the network configuration. Pure: the randomness is passed in.
import type { AddressPool, NetworkConfig } from "../config/network-config.ts";
import {
  addressBits,
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../ip/address.ts";
import { networkAddress, overlaps, prefixSize } from "../ip/prefix.ts";
import type { LeasedSubnets } from "./lease.ts";

/** Integer in 0..limit-1, uniformly distributed. */
export type RandomInteger = (limit: number) => number;

/** Why `subnets` cannot be used under `config`, for a person; undefined when they can. */
export function incompatibility(subnets: LeasedSubnets, config: NetworkConfig): string | undefined {
  return (
    familyIncompatibility("IPv4", subnets.subnet, config.ipv4) ??
    familyIncompatibility("IPv6", subnets.ipv6Subnet, config.ipv6)
  );
}

function familyIncompatibility(
  family: string,
  subnet: Prefix | undefined,
  pool: AddressPool | undefined,
): string | undefined {
  if (pool === undefined) return subnet === undefined ? undefined : `${family} is not enabled`;
  if (subnet === undefined) return `it has no ${family} subnet`;
  if (prefixLength(subnet) !== pool.subnetLength) return `${subnet} is not a /${pool.subnetLength}`;
  const start = addressToBigInt(networkAddress(subnet));
  if (start < addressToBigInt(pool.subnetMin) || start > addressToBigInt(pool.subnetMax)) {
    return `${subnet} is not between ${pool.subnetMin} and ${pool.subnetMax}`;
  }
  return undefined;
}

/** Those of the subnets that can be used under `config`: a change of one family's network leaves the other's in force. */
export function usableSubnets({ subnet, ipv6Subnet }: LeasedSubnets, config: NetworkConfig): LeasedSubnets {
  return {
    ...(isUsable("IPv4", subnet, config.ipv4) && { subnet }),
    ...(isUsable("IPv6", ipv6Subnet, config.ipv6) && { ipv6Subnet }),
  };
}

function isUsable(family: string, subnet: Prefix | undefined, pool: AddressPool | undefined): subnet is Prefix {
  return subnet !== undefined && familyIncompatibility(family, subnet, pool) === undefined;
}

/** True when the two share an address in either family. */
export function subnetsOverlap(a: LeasedSubnets, b: LeasedSubnets): boolean {
  const inIpv4 = a.subnet !== undefined && b.subnet !== undefined && overlaps(a.subnet, b.subnet);
  return inIpv4 || (a.ipv6Subnet !== undefined && b.ipv6Subnet !== undefined && overlaps(a.ipv6Subnet, b.ipv6Subnet));
}

export interface PickOptions {
  /** Chosen among so many; upstream: 100. */
  readonly candidates?: number;
  /** In use for something else; of any family. */
  readonly avoid?: readonly Prefix[];
  /** Not picked, but taken as they are. */
  readonly kept?: LeasedSubnets;
}

/**
 * A random free subnet of each enabled family among the first `candidates` free ones of its pool, or the one of `kept`;
 * undefined when a family has none.
 */
export function pickFreeSubnets(
  config: Pick<NetworkConfig, "ipv4" | "ipv6">,
  taken: readonly LeasedSubnets[],
  random: RandomInteger,
  options: PickOptions = {},
): LeasedSubnets | undefined {
  const { kept = {} } = options;
  const subnet = kept.subnet ?? (config.ipv4 && pickOne(config.ipv4, taken, random, options));
  const ipv6Subnet = kept.ipv6Subnet ?? (config.ipv6 && pickOne(config.ipv6, taken, random, options));
  if ((config.ipv4 && subnet === undefined) || (config.ipv6 && ipv6Subnet === undefined)) return undefined;
  return { ...(subnet !== undefined && { subnet }), ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
}

function pickOne(
  pool: AddressPool,
  taken: readonly LeasedSubnets[],
  random: RandomInteger,
  { candidates = 100, avoid = [] }: PickOptions,
) {
  const family = familyOf(pool.network);
  const leased = taken.map((subnets) => (family === 4 ? subnets.subnet : subnets.ipv6Subnet));
  const occupied = [...leased, ...avoid].filter((prefix) => prefix !== undefined && familyOf(prefix) === family);
  const free = freeSubnets(
    pool,
    occupied.filter((prefix) => prefix !== undefined),
    candidates,
  );
  return free.length === 0 ? undefined : free[random(free.length)];
}

/**
 * The first `limit` subnets of the pool, in order, that overlap none of `taken` (same family). Sorted ranges let it
 * leap over what is taken, so a full pool of 2^48 subnets costs no more than its leases.
 */
export function freeSubnets(pool: AddressPool, taken: readonly Prefix[], limit: number): Prefix[] {
  const family = familyOf(pool.network);
  const size = 1n << BigInt(addressBits(family) - pool.subnetLength);
  const last = addressToBigInt(pool.subnetMax);
  const ranges = sortedRanges(taken);
  const free: Prefix[] = [];
  let next = 0;
  let start = addressToBigInt(pool.subnetMin);
  while (start <= last && free.length < limit) {
    const range = ranges[next];
    if (range === undefined || range.first >= start + size) {
      free.push(makePrefix(addressFromBigInt(start, family), pool.subnetLength));
      start += size;
    } else {
      if (range.last >= start) start = (range.last / size + 1n) * size;
      next++;
    }
  }
  return free;
}

function sortedRanges(prefixes: readonly Prefix[]): { first: bigint; last: bigint }[] {
  const ranges = prefixes.map((prefix) => {
    const size = prefixSize(prefix);
    const first = (addressToBigInt(prefixAddress(prefix)) / size) * size;
    return { first, last: first + size - 1n };
  });
  return ranges.sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
}
