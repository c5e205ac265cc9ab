import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { revision } from "../../test/support/revision.ts";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import type { Lease } from "../lease/lease.ts";
import type { ExternalInterface } from "../underlay/external-interface.ts";
import type { PeerReach, SkippedLease } from "./peer-reach.ts";
import { countLeases, settleClaims } from "./settle-claims.ts";

const external: ExternalInterface = { name: "eth0", index: 2, mtuBytes: 1_500, isUp: true };

/** A world of 64 addresses, in which everything is a set of numbers. */
interface Family {
  readonly network: string;
  readonly address: (at: number) => string;
  readonly length: (bits: number) => number;
}
const families: readonly Family[] = [
  { network: "10.5.0.0/26", address: (at) => `10.5.0.${at}`, length: (bits) => 26 + bits },
  { network: "fd00:5::/122", address: (at) => `fd00:5::${at.toString(16)}`, length: (bits) => 122 + bits },
];

/** `bits` of 6 name the block: 0 is the whole world, 5 two addresses. */
interface Block {
  readonly at: number;
  readonly bits: number;
}

function block(at: number, bits: number): Block {
  const size = 64 >> bits;
  return { at: Math.floor(at / size) * size, bits };
}

const addressesIn = ({ at, bits }: Block) => new Set(Array.from({ length: 64 >> bits }, (_, index) => at + index));
const touch = (a: Block, b: Block) => !addressesIn(a).isDisjointFrom(addressesIn(b));

interface Claim {
  readonly key: string;
  readonly created: number;
  /** Hosts 100 and up live outside of the world. */
  readonly host: number;
  readonly subnet?: Block;
}

const blocks = fc
  .tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 2, max: 5 }))
  .map(([at, bits]) => block(at, bits));
const claims = fc
  .array(
    fc.record(
      {
        created: fc.integer({ min: 1, max: 8 }),
        host: fc.oneof(fc.integer({ min: 100, max: 103 }), fc.integer({ min: 0, max: 63 })),
        subnet: blocks,
      },
      { requiredKeys: ["created", "host"] },
    ),
    { maxLength: 8 },
  )
  .map((list) => list.map((claim, index): Claim => ({ key: `k${index}`, ...claim })))
  // A host inside its own subnet is left out before.
  .map((list) => list.filter(({ host, subnet }) => subnet === undefined || !addressesIn(subnet).has(host)));

type Verdict = "served" | "replaced" | NonNullable<SkippedLease["conflict"]>;

/** The rule as it is written down, step by step over sets of numbers. */
function oracle(list: readonly Claim[], own: Block, occupied: readonly Block[]): Map<string, Verdict> {
  const verdicts = new Map<string, Verdict>();
  for (const { key, subnet } of list) {
    if (subnet === undefined) continue;
    if (touch(subnet, own)) verdicts.set(key, "own-subnet");
    else if (occupied.some((other) => touch(other, subnet))) verdicts.set(key, "occupied");
  }
  const isOlder = (a: Claim, b: Claim, age: ReadonlyMap<string, number>) => {
    const [first = 0, second = 0] = [age.get(a.key), age.get(b.key)];
    return first < second || (first === second && a.key < b.key);
  };
  const age = new Map(list.map(({ key, created }) => [key, created]));
  const created = new Map(age);
  const newestFirst = list.toSorted((a, b) => (isOlder(a, b, created) ? 1 : -1));
  const kept: Claim[] = [];
  for (const claim of newestFirst) {
    const { subnet } = claim;
    if (subnet === undefined || verdicts.has(claim.key)) continue;
    const successor = kept.find((newer) => newer.host === claim.host && newer.subnet && touch(newer.subnet, subnet));
    if (successor === undefined) {
      kept.push(claim);
      continue;
    }
    verdicts.set(claim.key, "replaced");
    age.set(successor.key, Math.min(age.get(successor.key) ?? 0, age.get(claim.key) ?? 0));
  }
  const heard = list.filter(({ key }) => verdicts.get(key) !== "replaced");
  const served: Claim[] = [];
  const hosts: number[] = [];
  for (const claim of heard.toSorted((a, b) => (isOlder(a, b, age) ? -1 : 1))) {
    const { key, subnet, host } = claim;
    const isUndecided = subnet !== undefined && !verdicts.has(key);
    if (served.some((other) => other.subnet && addressesIn(other.subnet).has(host))) {
      if (isUndecided) verdicts.set(key, "other-lease");
      continue;
    }
    if (isUndecided) {
      const isTaken = hosts.some((other) => addressesIn(subnet).has(other));
      const isOverlapping = served.some((other) => other.subnet && touch(other.subnet, subnet));
      verdicts.set(key, isTaken || isOverlapping ? "other-lease" : "served");
      if (!isTaken && !isOverlapping) served.push(claim);
    }
    hosts.push(host);
  }
  return verdicts;
}

function decide(family: Family, list: readonly Claim[], own: Block, occupied: readonly Block[]): Map<string, Verdict> {
  const prefixOf = ({ at, bits }: Block) => parsePrefix(`${family.address(at)}/${family.length(bits)}`);
  const isIpv4 = family.network.includes(".");
  const leases = new Map(
    list.map(({ key, created, host, subnet }): [string, Lease] => {
      const outside = isIpv4 ? `192.0.2.${host}` : `2001:db8::${host}`;
      const publicIp = parseAddress(host < 64 ? family.address(host) : outside);
      const lease = {
        ...{ key, createdAt: revision(created), revision: revision(created), isReservation: false, adapterData: 1 },
        ...(subnet !== undefined && { [isIpv4 ? "subnet" : "ipv6Subnet"]: prefixOf(subnet) }),
        attributes: isIpv4 ? { publicIp } : { publicIpv6: publicIp },
      };
      return [key, lease];
    }),
  );
  const reaches = list.flatMap(({ key, subnet }): PeerReach[] => {
    const lease = leases.get(key);
    const publicIp = lease?.attributes.publicIp ?? lease?.attributes.publicIpv6;
    if (lease === undefined || publicIp === undefined || subnet === undefined) return [];
    return [{ lease, subnet: prefixOf(subnet), lengthBits: family.length(subnet.bits), publicIp }];
  });
  const { accepted, skipped } = settleClaims(reaches, {
    network: parsePrefix(family.network),
    ownSubnet: prefixOf(own),
    external,
    occupied: occupied.map((each) => ({ prefix: prefixOf(each), what: "something", isConnected: false })),
    leases: [...leases.values()],
  });
  const verdicts = new Map<string, Verdict>(reaches.map(({ lease }) => [lease.key, "replaced"]));
  for (const { lease } of accepted) verdicts.set(lease.key, "served");
  for (const { key, conflict } of skipped) if (conflict !== undefined) verdicts.set(key, conflict);
  return verdicts;
}

describe("settleClaims", () => {
  it.each(families)("decides as the rule says, whatever the order of the leases, in $network", (family) => {
    const check = (list: readonly Claim[], own: Block, occupied: readonly Block[], shuffled: readonly number[]) => {
      const expected = oracle(list, own, occupied);
      expect(decide(family, list, own, occupied)).toEqual(expected);
      const order = new Map(list.map(({ key }, index) => [key, shuffled[index] ?? index]));
      const other = list.toSorted((a, b) => (order.get(a.key) ?? 0) - (order.get(b.key) ?? 0));
      expect(decide(family, other, own, occupied)).toEqual(expected);
    };
    const order = fc.array(fc.integer(), { minLength: 8, maxLength: 8 });
    fc.assert(fc.property(claims, blocks, fc.array(blocks, { maxLength: 3 }), order, check), propertyRuns(20_000));
  });

  it("names who has the addresses", () => {
    const lease = (key: string, subnet: string, publicIp: string, created: number): Lease => ({
      ...{ key, subnet: parsePrefix(subnet), createdAt: revision(created), revision: revision(created) },
      ...{ isReservation: false, adapterData: 1, attributes: { publicIp: parseAddress(publicIp) } },
    });
    const leases = [
      lease("own", "10.5.1.0/25", "192.0.2.2", 1),
      lease("store", "10.5.5.0/24", "192.0.2.3", 1),
      lease("first", "10.5.8.0/24", "192.0.2.4", 1),
      lease("host", "10.5.9.0/24", "10.5.20.7", 2),
      lease("second", "10.5.8.0/23", "192.0.2.5", 3),
      lease("inside", "10.5.10.0/24", "10.5.8.5", 4),
      lease("around", "10.5.20.0/24", "192.0.2.6", 5),
    ];
    const reaches = leases.map(({ subnet = parsePrefix("10.5.0.0/24"), attributes, ...rest }): PeerReach => {
      const publicIp = attributes.publicIp ?? parseAddress("192.0.2.1");
      return { lease: { ...rest, subnet, attributes }, subnet, lengthBits: Number(subnet.split("/")[1]), publicIp };
    });
    const { accepted, skipped } = settleClaims(reaches, {
      network: parsePrefix("10.5.0.0/16"),
      ownSubnet: parsePrefix("10.5.1.0/24"),
      external,
      occupied: [{ prefix: parsePrefix("10.5.5.1/32"), what: "the store's address 10.5.5.1", isConnected: false }],
      leases: reaches.map((reach) => reach.lease),
    });
    expect(accepted.map((reach) => reach.lease.key)).toEqual(["first", "host"]);
    expect(skipped.map(({ key, reason }) => `${key}: ${reason}`).toSorted()).toEqual([
      "around: subnet 10.5.20.0/24 covers the address 10.5.20.7 of the host with the older lease host",
      "inside: subnet 10.5.10.0/24 is announced by 10.5.8.5, which lies inside the subnet of the older lease first",
      "own: subnet 10.5.1.0/25 overlaps this host's own subnet 10.5.1.0/24",
      "second: subnet 10.5.8.0/23 overlaps the older lease first of host 192.0.2.4",
      "store: subnet 10.5.5.0/24 overlaps the store's address 10.5.5.1",
    ]);
    expect(countLeases([...leases], [reaches, []])).toBe(leases.length);
  });
});
