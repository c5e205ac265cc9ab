import { expect, test } from "vitest";
import { recordingLogger } from "../../../test/support/host-fixture.ts";
import { revision } from "../../../test/support/revision.ts";
import type { SkippedLease } from "../../backend/peer-reach.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import type { OwnLease } from "../../lease/lease.ts";
import { withBlackholes } from "./blackholes.ts";
import { ClaimLog, claimFindings, claimsOnOwnSubnet, ownSubnetFindings } from "./claim-findings.ts";

const skipped: readonly SkippedLease[] = [
  { key: "a", reason: "has no PublicIP" },
  { key: "b", reason: "overlaps it", conflict: "occupied" },
  { key: "c&d", reason: "overlaps ours", conflict: "own-subnet" },
];

test("what a lease would take is a finding, our own subnet first; what cannot be used is none", () => {
  expect(claimFindings(skipped)).toMatchObject([
    { severity: "error", evidence: "lease c&d is not served: overlaps ours", remedy: expect.stringContaining("'c&d'") },
    { severity: "warning", evidence: "lease b is not served: overlaps it" },
  ]);
  expect(claimsOnOwnSubnet(skipped)).toEqual(["lease c&d: overlaps ours"]);
  const many = Array.from({ length: 40 }, (_, index): SkippedLease => {
    return { key: `k${index}`, reason: "overlaps", conflict: "other-lease" };
  });
  const findings = claimFindings(many);
  expect(findings).toHaveLength(11);
  expect(findings.at(-1)?.evidence).toMatch(/^30 more leases/);
});

test("what our own subnet takes is a finding of ours", () => {
  const lease = (key: string, address: string, subnet: string): OwnLease => ({
    ...{ key, subnet: parsePrefix(subnet), attributes: { publicIp: parseAddress(address) } },
    ...{ revision: revision(1), createdAt: revision(1), isReservation: false, adapterData: 1 },
  });
  const own = lease("own", "192.0.2.1", "10.5.1.0/24");
  const store = (prefix: string) => ({ prefix: parsePrefix(prefix), what: "the store's address", isConnected: false });
  const peers = [lease("inside", "10.5.1.9", "10.5.2.0/24"), lease("outside", "192.0.2.3", "10.5.3.0/24")];
  expect(
    ownSubnetFindings(own, [store("10.5.1.1/32"), store("10.5.9.1/32"), store("fd00::1/128")], peers),
  ).toMatchObject([
    { severity: "error", evidence: expect.stringContaining("10.5.1.0/24 overlaps the store's address") },
    {
      severity: "error",
      evidence: expect.stringContaining("covers the address 10.5.1.9 of the host with lease inside"),
    },
  ]);
  expect(ownSubnetFindings(own, [], [])).toEqual([]);
});

test("no blackhole is planned over what is reached elsewhere, in either family", () => {
  const own = { subnet: parsePrefix("10.5.1.0/24"), ipv6Subnet: parsePrefix("fd00::/64") };
  const plan = { state: {}, plannedPeers: 0, skipped: [] };
  const destinations = (...prefixes: string[]) => {
    const occupied = prefixes.map((text) => ({ prefix: parsePrefix(text), what: "it", isConnected: false }));
    return withBlackholes(plan, own, occupied).state.blackhole?.map(({ destination }) => destination);
  };
  expect(destinations("10.5.2.1/32")).toEqual(["10.5.1.0/24", "fd00::/64"]);
  expect(destinations("10.5.1.1/32")).toEqual(["fd00::/64"]);
  expect(destinations("fd00::1/128")).toEqual(["10.5.1.0/24"]);
});

test("the log tells each once, and again when it has come back", () => {
  const { logger, lines } = recordingLogger();
  const log = new ClaimLog(logger);
  log.follow(skipped);
  log.follow(skipped);
  log.follow([]);
  log.follow(skipped.slice(0, 2));
  expect(lines.map(({ message }) => message)).toEqual([
    "lease b is not served: overlaps it",
    "lease c&d is not served: overlaps ours",
    "lease b is not served: overlaps it",
  ]);
});
