// What the ipip backend announces and plans, in upstream's forms.
import { describe, expect, it, test } from "vitest";
import { revision } from "../../../test/support/revision.ts";
import { hostStateLines } from "../../host/kinds/host-state.ts";
import { type Address, parseAddress, parsePrefix } from "../../ip/address.ts";
import type { Lease, LeaseAttributes } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { HostFacts } from "../backend.ts";
import { createBackend, parseConfig } from "../registry.ts";

const eth0: ExternalInterface = {
  ...{ name: "eth0", index: 2, mtuBytes: 1500, isUp: true },
  address: parseAddress("192.0.2.1"),
  publicIp: parseAddress("203.0.113.1"),
};
const own = { subnet: parsePrefix("10.5.1.0/24") };

function factsOf(direct: readonly number[] = []): HostFacts {
  const directPeers = new Set(direct.map((n) => parseAddress(`192.0.2.${n}`)));
  return { externalInterface: eth0, identity: undefined, directPeers, occupied: [] };
}

function backendOf(keys = "", network = '"Network":"10.5.0.0/16"') {
  return createBackend(parseConfig(`{${network},"Backend":{"Type":"ipip"${keys}}}`).config);
}

function peer(n: number, attributes: Partial<LeaseAttributes> = {}): Lease {
  return {
    ...{ key: `10.5.${n}.0-24`, subnet: parsePrefix(`10.5.${n}.0/24`) },
    ...{ revision: revision(n), createdAt: revision(n), isReservation: false, adapterData: 1 },
    attributes: { publicIp: parseAddress(`192.0.2.${n}`), backendType: "ipip", ...attributes },
  };
}

function lines(keys: string, peers: readonly Lease[], facts = factsOf()): string[] {
  return hostStateLines(backendOf(keys).plan(own, peers, facts).state);
}

describe("forms", () => {
  it("announces the public address and no data, and takes 20 bytes of the MTU", () => {
    expect(backendOf().attributes(factsOf())).toEqual({ publicIp: "203.0.113.1", backendType: "ipip" });
    expect(backendOf().mtuBytes(factsOf())).toBe(1480);
  });

  it("has one device that ends at the interface's own address, and a route over it for each peer", () => {
    expect(lines("", [peer(2), peer(3)], factsOf([3]))).toEqual([
      "flannel.ipip mtu 1480 type ipip local 192.0.2.1",
      "net.ipv4.conf.flannel/ipip.forwarding = 1, rp_filter != 1",
      "inet 10.5.1.0/32 scope global flannel.ipip",
      "10.5.2.0/24 via 192.0.2.2 dev flannel.ipip onlink",
      "10.5.3.0/24 via 192.0.2.3 dev flannel.ipip onlink",
    ]);
  });

  it("goes around the device to peers on the link with DirectRouting, on-link as upstream", () => {
    expect(
      lines(',"DirectRouting":true', [peer(2), peer(3)], factsOf([3])).filter((line) => line.includes("via")),
    ).toEqual([
      expect.stringContaining("10.5.2.0/24 via 192.0.2.2 dev flannel.ipip onlink"),
      expect.stringMatching(/10\.5\.3\.0\/24 via 192\.0\.2\.3 dev eth0 proto \d+ onlink/),
    ]);
    expect(backendOf(',"DirectRouting":true').needsLookUp(peer(2))).toBe(true);
    expect(backendOf().needsLookUp(peer(2))).toBe(false);
  });

  it("routes plainly to hosts with vxlan or host-gw on the link, and so do those to it", () => {
    const others = [peer(2, { backendType: "vxlan" }), peer(3, { backendType: "host-gw" }), peer(4)];
    expect(lines("", others, factsOf([2, 3, 4])).filter((line) => line.includes("via"))).toEqual([
      expect.stringMatching(/10\.5\.2\.0\/24 via 192\.0\.2\.2 dev eth0 proto \d+ onlink/),
      expect.stringMatching(/10\.5\.3\.0\/24 via 192\.0\.2\.3 dev eth0 proto \d+ onlink/),
      "10.5.4.0/24 via 192.0.2.4 dev flannel.ipip onlink",
    ]);
    expect(backendOf().needsLookUp(others[0] as Lease)).toBe(true);
    for (const type of ["vxlan", "host-gw"]) {
      const other = createBackend(parseConfig(`{"Network":"10.5.0.0/16","Backend":{"Type":"${type}"}}`).config);
      const identity = { vtepMac: "02:00:00:00:00:01", vtepMacV6: "02:00:00:00:01:01" };
      expect(other.needsLookUp(peer(4))).toBe(true);
      const near = other.plan(own, [peer(4)], { ...factsOf([4]), identity });
      expect(near.state.route).toEqual([
        { destination: "10.5.4.0/24", device: "eth0", gateway: "192.0.2.4", onLink: false },
      ]);
      expect(other.plan(own, [peer(4)], { ...factsOf(), identity }).skipped).toMatchObject([
        { reason: `has backend type "ipip", not ${type}, and its host is not on a link of this host` },
      ]);
    }
  });

  it("leaves out who cannot be reached", () => {
    const { skipped, plannedPeers } = backendOf().plan(
      own,
      [
        peer(2),
        peer(3, { backendType: "vxlan" }),
        peer(4, { publicIp: "192.0.2.1" as Address }),
        peer(5, { publicIp: "127.0.0.1" as Address }),
        { ...peer(6), subnet: own.subnet },
      ],
      factsOf(),
    );
    expect(plannedPeers).toBe(1);
    expect(new Set(skipped.map(({ key }) => key))).toEqual(new Set([3, 4, 5, 6].map((n) => peer(n).key)));
  });

  it("plans the same after few changes as from the beginning", () => {
    const backend = backendOf();
    const peers = Array.from({ length: 200 }, (_, index) => peer(index + 2));
    const facts = factsOf();
    backend.plan(own, peers, facts);
    const changed = [...peers.slice(0, 50), ...peers.slice(51), peer(240)];
    expect(backend.plan(own, changed, facts)).toEqual(backendOf().plan(own, changed, facts));
  });
});

const dual = '"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"';
const ipv6Only = '"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"';

describe("IPv6", () => {
  const ownBoth = { ...own, ipv6Subnet: parsePrefix("fd00:5:0:1::/64") };
  const tunnel = { Tunnel: "ip6tnl" };
  const address6 = (n: number) => parseAddress(`2001:db8::${n}`);
  const dualFacts = (direct: readonly number[] = []): HostFacts => ({
    ...factsOf(direct),
    directPeers: new Set([...factsOf(direct).directPeers, ...direct.map(address6)]),
    externalInterface: { ...eth0, ipv6Address: address6(1), publicIpv6: address6(1) },
  });
  const dualPeer = (n: number, attributes: Partial<LeaseAttributes> = {}): Lease => ({
    ...peer(n, { publicIpv6: address6(n), backendV6Data: tunnel, ...attributes }),
    ipv6Subnet: parsePrefix(`fd00:5:0:${n}::/64`),
  });
  const dualLines = (keys: string, peers: readonly Lease[], direct: readonly number[] = []) =>
    hostStateLines(backendOf(keys, dual).plan(ownBoth, peers, dualFacts(direct)).state);

  it("is announced in data that upstream ignores, and has an MTU of its own", () => {
    expect(backendOf("", dual).attributes(dualFacts())).toEqual({
      ...{ publicIp: "203.0.113.1", publicIpv6: "2001:db8::1", backendType: "ipip" },
      backendV6Data: { Tunnel: "ip6tnl" },
    });
    expect(backendOf("", dual).mtuBytes(dualFacts())).toBe(1480);
    expect(backendOf("", dual).mtuBytes(dualFacts(), 6)).toBe(1460);
    expect(backendOf("", ipv6Only).mtuBytes(dualFacts())).toBe(1460);
    expect(backendOf("", dual).handoverObstacle).toContain("EnableIPv6");
    expect(backendOf().handoverObstacle).toBeUndefined();
  });

  it("travels through a device of its own, whose routes say the outer addresses; IPv4 stays as it is", () => {
    const ipv4 = lines("", [peer(2)]);
    const found = dualLines("", [dualPeer(2)]);
    expect(found.filter((line) => ipv4.includes(line))).toEqual(ipv4);
    expect(found.filter((line) => !ipv4.includes(line))).toEqual([
      "flannel.ip6tnl mtu 1460 type ip6tnl mode ip6ip6 external",
      "net.ipv6.conf.flannel/ip6tnl.disable_ipv6 = 0",
      "net.ipv6.conf.flannel/ip6tnl.accept_ra = 0",
      "inet6 fd00:5:0:1::/128 scope global flannel.ip6tnl",
      "fd00:5:0:2::/64 encap ip6 src 2001:db8::1 dst 2001:db8::2 via fd00:5:0:2:: dev flannel.ip6tnl metric 1024 onlink mtu 1460 pref medium",
    ]);
    const alone = backendOf("", ipv6Only).plan({ ipv6Subnet: ownBoth.ipv6Subnet }, [dualPeer(2)], dualFacts());
    expect(alone.state.link).toEqual([{ kind: "ip6tnl", name: "flannel.ip6tnl", mtuBytes: 1460 }]);
    expect(alone.state.route).toMatchObject([{ destination: "fd00:5:0:2::/64", device: "flannel.ip6tnl" }]);
  });

  it("goes plainly to peers on the link with DirectRouting, and to vxlan and host-gw", () => {
    const others = [dualPeer(2), dualPeer(3), dualPeer(4, { backendType: "host-gw", backendV6Data: null })];
    const plain = dualLines(',"DirectRouting":true', others, [3, 4]).filter((line) => /^fd.* via 2001/.test(line));
    expect(plain).toEqual([
      expect.stringMatching(/^fd00:5:0:3::\/64 via 2001:db8::3 dev eth0 proto \d+ metric 1024 pref medium$/),
      expect.stringMatching(/^fd00:5:0:4::\/64 via 2001:db8::4 dev eth0 proto \d+ metric 1024 pref medium$/),
    ]);
  });

  it("does not send into a tunnel what a host does not take from one", () => {
    const silent = dualPeer(2, { backendV6Data: null });
    expect(backendOf("", dual).needsLookUp(silent)).toBe(true);
    const { skipped, plannedPeers } = backendOf("", dual).plan(ownBoth, [silent], dualFacts());
    expect({ skipped, plannedPeers }).toMatchObject({
      skipped: [{ key: silent.key, reason: expect.stringContaining("announces no tunnel for IPv6") }],
      plannedPeers: 1,
    });
    expect(dualLines("", [silent], [2]).filter((line) => line.includes("via"))).toEqual([
      "10.5.2.0/24 via 192.0.2.2 dev flannel.ipip onlink",
      expect.stringMatching(/^fd00:5:0:2::\/64 via 2001:db8::2 dev eth0/),
    ]);
    for (const data of ["ip6tnl", { Tunnel: "gre" }, [tunnel], 7, { Tunnel: { ip6tnl: 1 } }]) {
      expect(backendOf("", dual).needsLookUp(dualPeer(2, { backendV6Data: data }))).toBe(true);
    }
    expect(backendOf("", dual).needsLookUp(dualPeer(2, { backendV6Data: { tunnel: "ip6tnl" } }))).toBe(false);
  });
});

test.each([
  [
    '"Network":"10.5.0.0/16"',
    ',"DirectRouting":"yes"',
    "Backend.DirectRouting yes must be true or false, not a string",
  ],
  ['"Network":"10.5.0.0/16"', ',"DirectRouting":1', "Backend.DirectRouting 1 must be true or false, not a number"],
  ['"Network":"10.5.0.0/16"', ',"DirectRouting":[]', "Backend.DirectRouting [] must be true or false, not an array"],
])("%s%s is refused", (network, keys, message) => {
  expect(() => backendOf(keys, network)).toThrow(message);
});
