import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { formatLeaseKey, tryParseLeaseKey } from "./lease-key.ts";

describe("vectors", () => {
  test.each([
    ["10.12.13.0-24", "10.12.13.0/24", undefined],
    ["10.12.13.0-24&fd00:12:13::-56", "10.12.13.0/24", "fd00:12:13::/56"],
    ["0.0.0.0-0&fd00::-64", undefined, "fd00::/64"],
    ["10.5.34.16-28", "10.5.34.16/28", undefined],
    ["128.0.0.0-1", "128.0.0.0/1", undefined],
  ])("%s", (key, subnet, ipv6Subnet) => {
    const expected = { ...(subnet && { subnet }), ...(ipv6Subnet && { ipv6Subnet }) };
    expect(tryParseLeaseKey(key)).toEqual(expected);
    expect(formatLeaseKey(tryParseLeaseKey(key)!)).toBe(key);
  });

  test.each([
    ...[
      "10",
      "10.12.13.0",
      "10.12.13-24",
      "10.12.13.300-24",
      "10.12.13.0-24hi",
      "&2001::-56",
      "10.12.13.0-24&:12:13:-56",
    ],
    ...["10.12.13.0-24&20011::-56", "10.12.13.0-24&2001-56", "10.12.13.0-24&2001::", "10.12.13.0-24&2001::-56hi"],
    ...["", "config", "x10.12.13.0-24", "/10.12.13.0-24", "a/10.12.13.0-24", "10.12.13.0-24\n", " 10.12.13.0-24"],
    ...["10.12.13.0-32", "10.12.13.0-33", "10.12.13.0--1", "10.12.13.0-024", "010.12.13.0-24", "10x12x13x0-24"],
    ...["0.0.0.0-0", "10.0.0.0-0", "10.12.13.1-24", "10.12.13.0-24&fd00::1-64", "10.12.13.0-24&fd00::-128"],
    ...["10.12.13.0-24&FD00::-64", "10.12.13.0-24&::-0", "10.12.13.0-24&", "10.12.13.0-24&fd00::-64&fd01::-64"],
    ...["10.12.13.0-24&::ffff:0a00:0-112", "fd00::-64", "10.12.13.0-24&10.0.0.0-8", "__proto__", "1٠.12.13.0-24"],
  ])("%j is no lease", (key) => {
    expect(tryParseLeaseKey(key)).toBeUndefined();
  });
});

const piece = fc.constantFrom(..."0.0.0.0 10.5.34.0 255.255.255.255 fd00:: :: - & / . : 24 64 0 128 a f".split(" "));
const nearKey = fc.oneof(
  fc.array(fc.oneof(piece, fc.string({ maxLength: 3 })), { maxLength: 8 }).map((parts) => parts.join("")),
  fc
    .tuple(fc.ipV4(), fc.integer({ min: 0, max: 40 }), fc.ipV6(), fc.integer({ min: 0, max: 140 }))
    .map(([ipv4, length, ipv6, ipv6Length]) => `${ipv4}-${length}&${ipv6}-${ipv6Length}`),
);

test("never throws, and what it accepts ipaddr.js reads as the same networks", () => {
  fc.assert(
    fc.property(nearKey, (key) => {
      const subnets = tryParseLeaseKey(key);
      if (subnets === undefined) return;
      for (const prefix of [subnets.subnet, subnets.ipv6Subnet]) {
        if (prefix === undefined) continue;
        const [address, length] = ipaddr.parseCIDR(prefix);
        const network = address.kind() === "ipv4" ? ipaddr.IPv4 : ipaddr.IPv6;
        expect(network.networkAddressFromCIDR(prefix).toString()).toBe(address.toString());
        expect(length).toBeGreaterThan(0);
        expect(key).toContain(`-${length}`);
      }
    }),
    propertyRuns(60_000),
  );
});

test("every formatted key is read back", () => {
  const subnet = fc.tuple(fc.nat(0xffff_ffff), fc.integer({ min: 1, max: 31 })).map(([value, length]) => {
    const network = ((value >>> (32 - length)) << (32 - length)) >>> 0;
    return `${ipaddr.fromByteArray([24, 16, 8, 0].map((shift) => (network >>> shift) & 255)).toString()}-${length}`;
  });
  const ipv6 = fc.tuple(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.integer({ min: 1, max: 127 }));
  fc.assert(
    fc.property(subnet, ipv6, (ipv4Key, [bytes, length]) => {
      bytes[0] = 0xfd;
      const cidr = `${ipaddr.fromByteArray([...bytes]).toString()}/${length}`;
      const network = ipaddr.IPv6.networkAddressFromCIDR(cidr).toRFC5952String();
      const key = `${ipv4Key}&${network}-${length}`;
      const parsed = tryParseLeaseKey(key);
      expect(parsed && formatLeaseKey(parsed)).toBe(key);
    }),
    propertyRuns(40_000),
  );
});

test("a very long key costs nothing", () => {
  const sinceMs = performance.now();
  for (let i = 0; i < 100; i++) tryParseLeaseKey(`${"1".repeat(1_000_000)}.1.1.1-24`);
  expect(performance.now() - sinceMs).toBeLessThan(10_000);
});
