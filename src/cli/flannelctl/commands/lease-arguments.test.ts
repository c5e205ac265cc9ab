import { expect, test } from "vitest";
import { revision } from "../../../../test/support/revision.ts";
import { parsePrefix } from "../../../ip/address.ts";
import type { Lease } from "../../../lease/lease.ts";
import { findLease, keyOf, parsePublicAddress, parseSubnets } from "./lease-arguments.ts";

test.each([
  ["10.5.34.0/24", { subnet: "10.5.34.0/24" }],
  ["10.5.34.0-24", { subnet: "10.5.34.0/24" }],
  ["fd00:1::/64", { ipv6Subnet: "fd00:1::/64" }],
  ["10.5.34.0/24,fd00:0:1::/64", { subnet: "10.5.34.0/24", ipv6Subnet: "fd00:0:1::/64" }],
  ["0.0.0.0-0&fd00::-64", { ipv6Subnet: "fd00::/64" }],
  ["10.5.34.0-24&fd00::-64", { subnet: "10.5.34.0/24", ipv6Subnet: "fd00::/64" }],
])("%s names subnets", (text, subnets) => {
  expect(parseSubnets(text)).toEqual(subnets);
});

test.each([
  ["", "is not a subnet"],
  ["10.5.34.0", "is not a subnet"],
  ["10.5.34.0/33", "is not a subnet"],
  ["10.5.34.7/24", "the subnet is 10.5.34.0/24"],
  ["10.5.34.0/24,10.5.35.0/24", "two subnets of one family"],
  ["10.5.34.0/24,", "is not a subnet"],
])("%j is wrong use", (text, reason) => {
  expect(() => parseSubnets(text)).toThrow(
    expect.objectContaining({ code: "USAGE", message: expect.stringContaining(reason) }),
  );
});

test("public addresses must be of the option's family and name a host", () => {
  expect(parsePublicAddress("192.0.2.7", 4, "--public-ip")).toBe("192.0.2.7");
  for (const [text, family] of [
    ["fd00::1", 4],
    ["192.0.2.7", 6],
    ["0.0.0.0", 4],
    ["::", 6],
    ["host", 4],
  ] as const) {
    expect(() => parsePublicAddress(text, family, "--x")).toThrow(expect.objectContaining({ code: "USAGE" }));
  }
});

test("a lease is found by its key, or by either of its subnets", () => {
  const lease: Lease = {
    key: "10.5.34.0-24&fd00::-64",
    subnet: parsePrefix("10.5.34.0/24"),
    ipv6Subnet: parsePrefix("fd00::/64"),
    attributes: {},
    revision: revision(1),
    createdAt: revision(1),
    isReservation: true,
    adapterData: 0,
  };
  for (const text of [lease.key, "10.5.34.0/24", "fd00::/64", "10.5.34.0/24,fd00::/64"]) {
    expect(findLease([lease], text, "subnets")).toBe(lease);
  }
  expect(findLease([lease], "10.5.34.0/25", "subnets")).toBeUndefined();
  expect(findLease([lease], "10.5.34.0/24,fd01::/64", "subnets")).toBeUndefined();
});

test("finds a lease of a Node by the Node's name, and by its subnet", () => {
  const lease = { key: "worker-1", subnet: "10.5.34.0/24" } as Lease;
  for (const text of ["worker-1", "10.5.34.0/24"]) expect(findLease([lease], text, "nodes")).toBe(lease);
  expect(findLease([lease], "worker-2", "nodes")).toBeUndefined();
  expect(keyOf("worker-2", "nodes")).toBe("worker-2");
  expect(() => keyOf("worker-2", "subnets")).toThrow("is not a subnet");
});
