// What the udp backend plans: device, route and peers, in upstream's forms; IPv6 only with those who announce it.
import { describe, expect, it } from "vitest";
import { revision } from "../../../test/support/revision.ts";
import { hostStateLines } from "../../host/kinds/host-state.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import type { Lease, LeaseAttributes } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { HostFacts } from "../backend.ts";
import { createBackend, parseConfig } from "../registry.ts";

const ipv4Only = '"Network":"10.5.0.0/16"';
const dual = '"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"';
const eth0: ExternalInterface = {
  name: "eth0",
  index: 2,
  mtuBytes: 1500,
  isUp: true,
  address: parseAddress("192.0.2.1"),
  publicIp: parseAddress("203.0.113.1"),
  ipv6Address: parseAddress("2001:db8::1"),
  publicIpv6: parseAddress("2001:db8::1"),
};
const facts: HostFacts = { externalInterface: eth0, identity: undefined, directPeers: new Set(), occupied: [] };
const own = { subnet: parsePrefix("10.5.1.0/24") };
const ownDual = { ...own, ipv6Subnet: parsePrefix("fd00:5:0:1::/64") };

function backendOf(network: string, keys = "") {
  return createBackend(parseConfig(`{${network},"Backend":{"Type":"udp"${keys}}}`).config);
}

function peer(n: number, attributes: Partial<LeaseAttributes> = {}): Lease {
  return {
    key: `10.5.${n}.0-24`,
    subnet: parsePrefix(`10.5.${n}.0/24`),
    ipv6Subnet: parsePrefix(`fd00:5:0:${n}::/64`),
    revision: revision(n),
    createdAt: revision(n),
    isReservation: false,
    adapterData: 1,
    attributes: {
      publicIp: parseAddress(`192.0.2.${n}`),
      publicIpv6: parseAddress(`2001:db8::${n}`),
      ...attributes,
    },
  };
}

describe("forms", () => {
  it("announces no type, and IPv6 with its port", () => {
    expect(backendOf(ipv4Only).attributes(facts)).toEqual({ publicIp: "203.0.113.1" });
    expect(backendOf(dual, ',"Port":9000').attributes(facts)).toEqual({
      publicIp: "203.0.113.1",
      publicIpv6: "2001:db8::1",
      backendV6Data: { Port: 9000 },
    });
  });

  it("takes 28 bytes of the MTU, 48 of IPv6's; containers have IPv4's where that is enabled", () => {
    expect([ipv4Only, dual].map((network) => backendOf(network).mtuBytes(facts))).toEqual([1472, 1472]);
    expect(backendOf(dual).mtuBytes(facts, 6)).toBe(1452);
  });

  it("plans one device with the whole network behind it", () => {
    expect(hostStateLines(backendOf(dual).plan(ownDual, [], facts).state)).toEqual([
      "flannel0 mtu 1472 type tun",
      "net.ipv4.conf.flannel0.forwarding = 1, rp_filter != 1",
      "net.ipv6.conf.flannel0.disable_ipv6 = 0",
      "net.ipv6.conf.flannel0.accept_ra = 0",
      "inet 10.5.1.0/32 scope global flannel0",
      "inet6 fd00:5:0:1::/128 scope global flannel0",
      "10.5.0.0/16 dev flannel0",
      "fd00:5::/48 dev flannel0 metric 1024 mtu 1452 pref medium",
    ]);
  });

  it("cannot be handed over with IPv6, which upstream's does not carry", () => {
    expect(backendOf(ipv4Only).handoverObstacle).toBeUndefined();
    expect(backendOf(dual).handoverObstacle).toContain("IPv4 only");
  });

  it("gives each peer a route where the store, a gateway or a host is inside the network", () => {
    const routesOf = (peers: readonly Lease[], occupied: HostFacts["occupied"] = []) =>
      (backendOf(ipv4Only).plan(own, peers, { ...facts, occupied }).state.route ?? []).map(
        (route) => route.destination,
      );
    const entry = (prefix: string, isConnected = false) => ({ prefix: parsePrefix(prefix), what: "it", isConnected });
    expect(routesOf([peer(2), peer(3)], [entry("10.5.200.1/32")])).toEqual(["10.5.2.0/24", "10.5.3.0/24"]);
    expect(routesOf([peer(2), peer(3)], [entry("10.5.3.1/32")])).toEqual(["10.5.2.0/24"]);
    expect(routesOf([peer(2), peer(3, { publicIp: parseAddress("10.5.200.7") })])).toHaveLength(2);
    expect(routesOf([peer(2)], [entry("10.5.0.0/16", true)])).toEqual([]);
    // The kernel prefers the narrower network of the interface by itself.
    expect(routesOf([peer(2)], [entry("10.5.77.0/24", true)])).toEqual(["10.5.0.0/16"]);
    expect(routesOf([peer(2)])).toEqual(["10.5.0.0/16"]);
  });

  it("names the device after a port that is not the default", () => {
    expect(backendOf(ipv4Only, ',"port":8286').devices).toEqual(["flannel-8286"]);
  });
});

describe("peers", () => {
  it("binds to the interface's own address and takes the announced ones as theirs", () => {
    const { runtime, plannedPeers } = backendOf(ipv4Only, ',"CheckSource":false,"Offload":false').plan(
      own,
      [peer(2), peer(3)],
      facts,
    );
    expect(plannedPeers).toBe(2);
    expect(runtime).toEqual({
      device: "flannel0",
      port: 8285,
      localIpv4: "192.0.2.1",
      own,
      checkSource: false,
      offload: false,
      peers: [
        { key: "10.5.2.0-24", subnet: "10.5.2.0/24", publicIp: "192.0.2.2" },
        { key: "10.5.3.0-24", subnet: "10.5.3.0/24", publicIp: "192.0.2.3" },
      ],
    });
  });

  it("uses IPv6 only with those who announce a port, and IPv4 with the others all the same", () => {
    const modern = peer(2, { backendV6Data: { port: 8300 } });
    const { runtime, plannedPeers, skipped } = backendOf(dual).plan(ownDual, [modern, peer(3)], facts);
    expect(plannedPeers).toBe(2);
    expect(runtime).toMatchObject({
      localIpv6: "2001:db8::1",
      peers: [
        { ipv6Subnet: "fd00:5:0:2::/64", publicIpv6: "2001:db8::2", ipv6Port: 8300 },
        { key: "10.5.3.0-24", subnet: "10.5.3.0/24", publicIp: "192.0.2.3" },
      ],
    });
    expect(runtime).not.toHaveProperty("peers.1.ipv6Subnet");
    expect(skipped).toEqual([
      { key: "10.5.3.0-24", reason: "announces no IPv6 port, so it does not receive IPv6 packets" },
    ]);
  });

  it.each([
    ["another backend's", peer(2, { backendType: "vxlan" }), 'has backend type "vxlan", not udp'],
    [
      "one with our address",
      peer(2, { publicIp: parseAddress("192.0.2.1") }),
      "announces this host's own address 192.0.2.1",
    ],
  ])("leaves out %s lease", (_, lease, reason) => {
    const { runtime, skipped } = backendOf(ipv4Only).plan(own, [lease], facts);
    expect(runtime).toMatchObject({ peers: [] });
    expect(skipped).toEqual([{ key: lease.key, reason }]);
  });
});
