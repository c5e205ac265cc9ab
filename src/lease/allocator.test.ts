import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import type { AddressPool, NetworkConfig } from "../config/network-config.ts";
import { type Prefix, parseAddress, parsePrefix } from "../ip/address.ts";
import { freeSubnets, incompatibility, pickFreeSubnets, subnetsOverlap } from "./allocator.ts";

const ipv4: AddressPool = {
  network: parsePrefix("10.3.0.0/16"),
  subnetLength: 24,
  subnetMin: parseAddress("10.3.1.0"),
  subnetMax: parseAddress("10.3.255.0"),
};
const ipv6: AddressPool = {
  network: parsePrefix("fc00::/48"),
  subnetLength: 64,
  subnetMin: parseAddress("fc00:0:0:1::"),
  subnetMax: parseAddress("fc00:0:0:ffff::"),
};
const base = { enableNftables: false, backendType: "vxlan", backend: {} };
const ipv4Config: NetworkConfig = { ...base, ipv4 };
const dualConfig: NetworkConfig = { ...base, ipv4, ipv6 };

describe("compatibility", () => {
  test.each([
    ["10.3.1.0/24", undefined, ipv4Config, undefined],
    ["10.3.255.0/24", undefined, ipv4Config, undefined],
    ["10.3.0.0/24", undefined, ipv4Config, /not between/],
    ["10.4.1.0/24", undefined, ipv4Config, /not between/],
    ["10.3.1.0/25", undefined, ipv4Config, /not a \/24/],
    [undefined, "fc00:0:0:1::/64", ipv4Config, /no IPv4 subnet/],
    ["10.3.1.0/24", "fc00:0:0:1::/64", ipv4Config, /IPv6 is not enabled/],
    ["10.3.1.0/24", "fc00:0:0:1::/64", dualConfig, undefined],
    ["10.3.1.0/24", undefined, dualConfig, /no IPv6 subnet/],
    ["10.3.1.0/24", "fc00::/64", dualConfig, /not between/],
  ])("%s %s", (subnet, ipv6Subnet, config, reason) => {
    const subnets = {
      ...(subnet !== undefined && { subnet: parsePrefix(subnet) }),
      ...(ipv6Subnet !== undefined && { ipv6Subnet: parsePrefix(ipv6Subnet) }),
    };
    if (reason === undefined) expect(incompatibility(subnets, config)).toBeUndefined();
    else expect(incompatibility(subnets, config)).toMatch(reason);
  });
});

test("overlap counts in either family", () => {
  const both = { subnet: parsePrefix("10.3.1.0/24"), ipv6Subnet: parsePrefix("fc00:0:0:1::/64") };
  expect(subnetsOverlap(both, { subnet: parsePrefix("10.3.1.128/25") })).toBe(true);
  expect(subnetsOverlap(both, { ipv6Subnet: parsePrefix("fc00::/60") })).toBe(true);
  expect(subnetsOverlap(both, { subnet: parsePrefix("10.3.2.0/24"), ipv6Subnet: parsePrefix("fc00:0:0:2::/64") })).toBe(
    false,
  );
});

test("chooses uniformly among the first 100 free subnets, each family by itself", () => {
  const asked: number[] = [];
  const taken = [{ subnet: parsePrefix("10.3.1.0/24") }, { ipv6Subnet: parsePrefix("fc00:0:0:1::/64") }];
  const last = (limit: number) => {
    asked.push(limit);
    return limit - 1;
  };
  expect(pickFreeSubnets(dualConfig, taken, last)).toEqual({ subnet: "10.3.101.0/24", ipv6Subnet: "fc00:0:0:65::/64" });
  expect(asked).toEqual([100, 100]);
  expect(pickFreeSubnets(dualConfig, taken, () => 0)).toEqual({ subnet: "10.3.2.0/24", ipv6Subnet: "fc00:0:0:2::/64" });
});

test("what is in use for something else is left out, in each family", () => {
  const avoid = ["10.3.1.9/32", "10.3.2.0/23", "fc00:0:0:1::1/128", "192.0.2.0/24"].map(parsePrefix);
  expect(pickFreeSubnets(dualConfig, [], () => 0, { avoid })).toEqual({
    subnet: "10.3.4.0/24",
    ipv6Subnet: "fc00:0:0:2::/64",
  });
});

test("nothing free in one family is nothing free", () => {
  expect(pickFreeSubnets(dualConfig, [{ subnet: parsePrefix("10.3.0.0/16") }], () => 0)).toBeUndefined();
  expect(pickFreeSubnets(dualConfig, [{ ipv6Subnet: parsePrefix("fc00::/32") }], () => 0)).toBeUndefined();
});

test("finds the one free subnet after 65,000 leases quickly", () => {
  const pool = {
    ...ipv4,
    network: parsePrefix("10.0.0.0/8"),
    subnetMin: parseAddress("10.0.1.0"),
    subnetMax: parseAddress("10.255.255.0"),
  };
  const taken: Prefix[] = [];
  for (let i = 1; i < 65_535; i++) taken.push(parsePrefix(`10.${i >> 8}.${i & 255}.0/24`));
  const sinceMs = performance.now();
  expect(freeSubnets(pool, taken, 100)).toEqual(["10.255.255.0/24"]);
  expect(performance.now() - sinceMs).toBeLessThan(20_000);
});

test("equals a slow walk over the pool that asks ipaddr.js", () => {
  const small: AddressPool = {
    ...ipv4,
    subnetLength: 27,
    subnetMin: parseAddress("10.3.0.32"),
    subnetMax: parseAddress("10.3.3.224"),
  };
  const prefix = fc
    .tuple(fc.integer({ min: 0, max: 1_279 }), fc.integer({ min: 21, max: 32 }))
    .map(([offset, length]) => {
      const cidr = `10.3.${offset >> 8}.${offset & 255}/${length}`;
      return parsePrefix(`${ipaddr.IPv4.networkAddressFromCIDR(cidr).toString()}/${length}`);
    });
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 12 }), fc.integer({ min: 1, max: 40 }), (taken, limit) => {
      const slow: string[] = [];
      for (let value = 32; value <= 3 * 256 + 224 && slow.length < limit; value += 32) {
        const candidate = `10.3.${value >> 8}.${value & 255}/27`;
        const isTaken = taken.some((other) => {
          const [shorter, longer] = [candidate, other].sort(
            (a, b) => Number(a.split("/")[1]) - Number(b.split("/")[1]),
          );
          return ipaddr.IPv4.parse(longer!.split("/")[0]!).match(ipaddr.IPv4.parseCIDR(shorter!));
        });
        if (!isTaken) slow.push(candidate);
      }
      expect(freeSubnets(small, taken, limit)).toEqual(slow);
    }),
    propertyRuns(3_000),
  );
});
