// Decides which leases keep their subnet when several claim the same addresses, or ours. Pure.

import { addressBits, familyOf, makePrefix, type Prefix, prefixAddress, prefixLength } from "../ip/address.ts";
import { networkOf } from "../ip/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import type { ExternalInterface } from "../underlay/external-interface.ts";
import type { PeerReach, SkippedLease } from "./peer-reach.ts";

/** Prefixes no peer may cover, each with its name for messages. */
export type ReservedPrefixes = ReadonlyMap<Prefix, string>;

/** Our own subnet, and our own addresses: a lease that covers them would take this host off the network. */
export function reservedPrefixes(ownSubnet: Prefix, external: ExternalInterface): ReservedPrefixes {
  const family = familyOf(ownSubnet);
  const reserved = new Map<Prefix, string>([[ownSubnet, `this host's own subnet ${ownSubnet}`]]);
  for (const address of [external.address, external.ipv6Address, external.publicIp, external.publicIpv6]) {
    if (address === undefined || familyOf(address) !== family) continue;
    reserved.set(makePrefix(address, addressBits(family)), `this host's own address ${address}`);
  }
  return reserved;
}

/**
 * Keeps every reach whose subnet overlaps no other. Of overlapping ones the configured subnet length wins, then the
 * lease written last (a host that lost its lease writes a new one; the old one is a dead man's), then the lower key.
 * Order of `reaches` is kept.
 */
export function settleClaims<Reach extends PeerReach>(
  reaches: readonly Reach[],
  reserved: ReservedPrefixes,
  subnetLength: number,
): { readonly accepted: readonly Reach[]; readonly skipped: readonly SkippedLease[] } {
  const losers = findLosers(reaches, reserved);
  if (losers.size === 0) return { accepted: reaches, skipped: [] };
  const byPreference = reaches.toSorted((a, b) => comparePreference(a, b, subnetLength));
  const settled = findLosers(byPreference, reserved);
  return {
    accepted: reaches.filter((reach) => !settled.has(reach)),
    skipped: [...settled].map(([{ lease, subnet }, owner]) => ({
      key: lease.key,
      reason: `subnet ${subnet} overlaps ${owner}`,
    })),
  };
}

/** Number of leases that appear in at least one of the lists; each list is in the order of `leases`. */
export function countLeases(leases: readonly Lease[], reached: readonly (readonly PeerReach[])[]): number {
  const [first = [], second = []] = reached;
  if (second.length === 0) return first.length;
  let [count, inFirst, inSecond] = [0, 0, 0];
  for (const lease of leases) {
    const isInFirst = first[inFirst]?.lease === lease;
    const isInSecond = second[inSecond]?.lease === lease;
    if (isInFirst) inFirst++;
    if (isInSecond) inSecond++;
    if (isInFirst || isInSecond) count++;
  }
  return count;
}

/** Negative when `a` is to be kept rather than `b`. */
export function comparePreference(a: PeerReach, b: PeerReach, subnetLength: number): number {
  const byLength = Number(b.lengthBits === subnetLength) - Number(a.lengthBits === subnetLength);
  if (byLength !== 0) return byLength;
  if (a.lease.revision.isAfter(b.lease.revision)) return -1;
  if (b.lease.revision.isAfter(a.lease.revision)) return 1;
  return a.lease.key < b.lease.key ? -1 : Number(a.lease.key > b.lease.key);
}

/** Reaches that overlap a reserved prefix or an earlier reach, with the name of what they overlap. */
function findLosers<Reach extends PeerReach>(
  reaches: readonly Reach[],
  reserved: ReservedPrefixes,
): ReadonlyMap<Reach, string> {
  const lengths = new Set<number>(reserved.keys().map(prefixLength));
  for (const { lengthBits } of reaches) lengths.add(lengthBits);
  const claims = new Claims(lengths);
  for (const [prefix, owner] of reserved) claims.claim(prefix, prefixLength(prefix), owner);
  const losers = new Map<Reach, string>();
  for (const reach of reaches) {
    const owner = claims.claim(reach.subnet, reach.lengthBits, reach.lease.key);
    if (owner !== undefined) losers.set(reach, owner);
  }
  return losers;
}

/** Set of disjoint prefixes. Finds an overlap by look-ups alone, one per prefix length in use (nearly always one). */
class Claims {
  /** For each length in use, the shorter ones. */
  readonly #shorterLengths = new Map<number, readonly number[]>();
  readonly #owners = new Map<Prefix, string>();
  /** Shorter prefixes that contain a claimed one. */
  readonly #around = new Map<Prefix, string>();

  constructor(lengths: ReadonlySet<number>) {
    for (const length of lengths) {
      const shorter = [...lengths].filter((other) => other < length);
      this.#shorterLengths.set(length, shorter);
    }
  }

  /** Claims the prefix, or returns whose claim it overlaps. */
  claim(prefix: Prefix, lengthBits: number, owner: string): string | undefined {
    const holder = this.#owners.get(prefix) ?? this.#around.get(prefix);
    if (holder !== undefined) return holder;
    const around = (this.#shorterLengths.get(lengthBits) ?? []).map((length) =>
      networkOf(makePrefix(prefixAddress(prefix), length)),
    );
    for (const shorter of around) {
      const outer = this.#owners.get(shorter);
      if (outer !== undefined) return outer;
    }
    this.#owners.set(prefix, owner);
    for (const shorter of around) if (!this.#around.has(shorter)) this.#around.set(shorter, owner);
    return undefined;
  }
}
