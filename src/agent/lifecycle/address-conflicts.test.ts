import { describe, expect, it } from "vitest";
import { revision } from "../../../test/support/revision.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import type { Lease, LeaseAttributes } from "../../lease/lease.ts";
import { addressConflictFindings, addressConflicts, takenByUpstreamFindings } from "./address-conflicts.ts";

function lease(key: string, attributes: LeaseAttributes, isReservation = false): Lease {
  const revisions = { revision: revision(1), createdAt: revision(1) };
  return { key, ipv6Subnet: parsePrefix("fd00:5:0:7::/64"), attributes, ...revisions, isReservation, adapterData: 1 };
}

const [ipv4, ipv6] = [parseAddress("192.0.2.1"), parseAddress("2001:db8::1")];
const [otherIpv4, otherIpv6] = [parseAddress("192.0.2.2"), parseAddress("2001:db8::2")];
const vxlan = (mac: string) => ({ backendType: "vxlan", backendData: { VNI: 1, VtepMAC: mac } });
const own = lease("own", { publicIp: ipv4, publicIpv6: ipv6, ...vxlan("02:00:00:00:00:01") });

describe("another lease with our address", () => {
  it.each<[string, LeaseAttributes, boolean]>([
    ["our IPv4 and another MAC", { publicIp: ipv4, ...vxlan("02:00:00:00:00:02") }, true],
    ["our IPv4 and our MAC", { publicIp: ipv4, ...vxlan("02:00:00:00:00:01") }, true],
    ["our IPv6 alone", { publicIp: otherIpv4, publicIpv6: ipv6, ...vxlan("02:00:00:00:00:02") }, true],
    ["our IPv4 beside another IPv6", { publicIp: ipv4, publicIpv6: otherIpv6 }, true],
    ["other addresses", { publicIp: otherIpv4, publicIpv6: otherIpv6 }, false],
    ["no address", {}, false],
  ])("%j %j: %j", (_what, attributes, isConflict) => {
    const conflicts = addressConflicts(own, [own, lease("other", attributes)]);
    expect(conflicts.map(({ key }) => key)).toEqual(isConflict ? ["other"] : []);
  });

  it("is none where a host has no address of the family, and a reservation that nobody took is none", () => {
    const [a, b] = [lease("a", {}), lease("b", {})];
    expect(addressConflicts(a, [b])).toEqual([]);
    expect(addressConflicts(own, [lease("reserved", { publicIp: ipv4 }, true)])).toEqual([]);
    expect(addressConflicts(own, [lease("kept", { publicIp: ipv4, ...vxlan("x") }, true)])).toHaveLength(1);
  });

  it("is told with both owners, and of a flood the first ones", () => {
    const many = Array.from({ length: 50 }, (_, index) => lease(`k${index}`, { publicIp: ipv4 }));
    const findings = addressConflictFindings(addressConflicts(own, many));
    expect(findings).toHaveLength(5);
    expect(findings[0]?.evidence).toMatch(
      /^lease k0 of 192\.0\.2\.1 announces this host's public IP 192\.0\.2\.1, too/,
    );
  });
});

describe("a lease that upstream took", () => {
  const taken = lease("0.0.0.0-0&fd00:5:0:7::-64", { publicIpv6: otherIpv6 });
  const earlier = [parsePrefix("fd00:5:0:7::/64")];

  it("is reported in a network without IPv4, while its owner is another", () => {
    expect(takenByUpstreamFindings({ hasIpv4: false, earlier }, [taken])).toMatchObject([
      { name: "lease-taken", evidence: expect.stringMatching(/belongs to 2001:db8::2 now.* may have taken it/) },
    ]);
    expect(takenByUpstreamFindings({ hasIpv4: true, earlier }, [taken])).toEqual([]);
    expect(takenByUpstreamFindings({ hasIpv4: false, earlier: [] }, [taken])).toEqual([]);
  });
});
