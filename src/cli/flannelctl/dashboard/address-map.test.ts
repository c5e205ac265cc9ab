import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../../../test/support/fuzz.ts";
import { resolvePool } from "../../../config/address-pool.ts";
import { parseAddress, parsePrefix } from "../../../ip/address.ts";
import { MAX_CELLS, type MappedLease, mapPools } from "./address-map.ts";

const lease = (subnet: string, rest: Partial<MappedLease> = {}): MappedLease => ({
  ...{ key: subnet.replace("/", "-"), subnet: parsePrefix(subnet), isReserved: false, isOwn: false },
  ...rest,
});
const pool = (network: string, subnetLength = 0, family: 4 | 6 = 4) =>
  resolvePool(family, { network: parsePrefix(network), subnetLength }, "leased");

test("tells leased, reserved, own and free subnets apart, and leases that are outside", () => {
  const [map] = mapPools({ ipv4: pool("10.5.0.0/21") }, [
    lease("10.5.2.0/24", { isOwn: true }),
    lease("10.5.3.0/24", { isReserved: true }),
    lease("10.5.6.0/24"),
    lease("10.9.0.0/24"),
  ]);
  expect(map).toMatchObject({ total: "7", taken: "3", free: "4", subnetsPerCell: "1", strays: ["10.9.0.0-24"] });
  expect(map?.cells.map(({ from, use }) => `${from} ${use}`)).toEqual([
    ...["10.5.1.0 free", "10.5.2.0 own", "10.5.3.0 reserved", "10.5.4.0 free"],
    ...["10.5.5.0 free", "10.5.6.0 leased", "10.5.7.0 free"],
  ]);
});

test("a large pool has cells of several subnets, and an IPv6 one of 2^64 as well", () => {
  const [wide, long] = mapPools({ ipv4: pool("10.0.0.0/8", 24), ipv6: pool("fd00::/48", 112, 6) }, [
    lease("10.77.1.0/24"),
    lease("fd00::1:0/112", { subnet: undefined, ipv6Subnet: parsePrefix("fd00::1:0/112") } as never),
  ]);
  expect(wide).toMatchObject({ total: "65535", taken: "1", subnetsPerCell: "64" });
  expect(wide?.cells.filter(({ use }) => use !== "free")).toEqual([
    { from: "10.77.0.0", use: "mixed", leases: ["10.77.1.0-24"], count: 1 },
  ]);
  expect(long?.cells.length).toBeLessThanOrEqual(MAX_CELLS + 1);
  expect(long).toMatchObject({ taken: "1", total: String(2n ** 64n - 1n) });
  expect(long?.cells[0]).toMatchObject({ use: "mixed", count: 1 });
});

test("a hostile lease over everything costs no more than its cells", () => {
  const [map] = mapPools({ ipv4: pool("10.5.0.0/16") }, [lease("0.0.0.0/0"), lease("10.5.9.0/24")]);
  expect(map).toMatchObject({ taken: "255", free: "0" });
  expect(map?.cells.every(({ use }) => use !== "free")).toBe(true);
});

test("agrees with counting address by address", () => {
  const subnets = fc.array(
    fc.record({
      second: fc.integer({ min: 0, max: 2 }),
      start: fc.integer({ min: 0, max: 255 }),
      length: fc.integer({ min: 24, max: 30 }),
    }),
    { maxLength: 12 },
  );
  const property = fc.property(subnets, fc.integer({ min: 26, max: 29 }), (drawn, subnetLength) => {
    const leases = drawn.map(({ second, start, length }, index) => {
      const size = 2 ** (32 - length);
      return { first: second * 256 + start - (start % size), size, key: String(index), length };
    });
    const size = 2 ** (32 - subnetLength);
    const map = mapPools(
      {
        ipv4: {
          network: parsePrefix("10.0.1.0/24"),
          subnetLength,
          subnetMin: parseAddress(`10.0.1.${size}`),
          subnetMax: parseAddress(`10.0.1.${256 - size}`),
        },
      },
      leases.map(({ first, length, key }) => ({
        ...{ key, subnet: parsePrefix(`10.0.${first >> 8}.${first & 255}/${length}`), isReserved: false, isOwn: false },
      })),
    )[0];
    const starts = Array.from({ length: 256 / size - 1 }, (_, index) => 256 + (index + 1) * size);
    const holders = (start: number) =>
      leases.filter((each) => each.first < start + size && each.first + each.size > start);
    expect(map?.taken).toBe(String(starts.filter((start) => holders(start).length > 0).length));
    expect(map?.cells.map(({ count }) => count)).toEqual(starts.map((start) => holders(start).length));
    const inPool = leases.filter((each) => each.first < 512 && each.first + each.size > 256 + size);
    expect(map?.strays.toSorted()).toEqual(
      leases
        .filter((each) => !inPool.includes(each))
        .map(({ key }) => key)
        .toSorted(),
    );
  });
  fc.assert(property, propertyRuns(10_000));
});
