import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { revision } from "../../test/support/revision.ts";
import { FlannelError } from "../errors.ts";
import { hostStateLines } from "../host/kinds/host-state.ts";
import { type Address, type Prefix, parseAddress, parsePrefix, tryParsePrefix } from "../ip/address.ts";
import { networkOf, overlaps } from "../ip/prefix.ts";
import type { BackendData, Lease, LeaseAttributes } from "../lease/lease.ts";
import type { ExternalInterface } from "../underlay/external-interface.ts";
import type { Backend, BackendPlan, HostFacts } from "./backend.ts";
import { createBackend, parseConfig } from "./registry.ts";

const ipv4Only = '"Network":"10.5.0.0/16"';
const ipv6Only = '"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"';
const dual = '"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"';

function backendOf(network: string, backend: string): Backend {
  return createBackend(parseConfig(`{${network},"Backend":{${backend}}}`).config);
}

const eth0: ExternalInterface = {
  name: "eth0",
  index: 2,
  mtuBytes: 1500,
  isUp: true,
  address: parseAddress("192.0.2.1"),
  publicIp: parseAddress("192.0.2.1"),
  ipv6Address: parseAddress("2001:db8::1"),
  publicIpv6: parseAddress("2001:db8::1"),
};
const facts: HostFacts = {
  externalInterface: eth0,
  identity: { vtepMac: "02:00:00:00:00:01", vtepMacV6: "02:00:00:00:01:01" },
  directPeers: new Set(),
  occupied: [],
};
const own = { subnet: parsePrefix("10.5.1.0/24"), ipv6Subnet: parsePrefix("fd00:5:0:1::/64") };

/** Host number `n` as upstream would announce it; `over` replaces parts. */
function peer(n: number, over: Partial<Lease> = {}, attributes: Partial<LeaseAttributes> = {}): Lease {
  return {
    key: `10.5.${n}.0-24`,
    subnet: parsePrefix(`10.5.${n}.0/24`),
    ipv6Subnet: parsePrefix(`fd00:5:0:${n}::/64`),
    revision: revision(n),
    createdAt: revision(n),
    isReservation: false,
    adapterData: 1,
    ...over,
    attributes: {
      publicIp: parseAddress(`192.0.2.${n}`),
      publicIpv6: parseAddress(`2001:db8::${n}`),
      backendType: "vxlan",
      backendData: { VNI: 1, VtepMAC: `02:00:00:00:00:0${n}` },
      backendV6Data: { VNI: 1, VtepMAC: `02:00:00:00:01:0${n}` },
      ...attributes,
    },
  };
}

function mac(text: string): Partial<LeaseAttributes> {
  return { backendData: { VNI: 1, VtepMAC: text } };
}

function skippedLines(plan: BackendPlan): string[] {
  return plan.skipped.map(({ key, reason }) => `${key}: ${reason}`);
}

const ipv4Lines = {
  link: "flannel.1 address 02:00:00:00:00:01 mtu 1450 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning",
  settings: ["net.ipv4.conf.flannel/1.forwarding = 1, rp_filter != 1"],
  sysctl: ["net.ipv6.conf.flannel/1.accept_ra = 0"],
  address: "inet 10.5.1.0/32 scope global flannel.1",
  neighbour: "10.5.2.0 dev flannel.1 lladdr 02:00:00:00:00:02 PERMANENT",
  fdb: "02:00:00:00:00:02 dev flannel.1 dst 192.0.2.2 self permanent",
  route: "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
};
const ipv6Lines = {
  link: "flannel-v6.1 address 02:00:00:00:01:01 mtu 1430 type vxlan id 1 local 2001:db8::1 dev eth0 dstport 8472 nolearning",
  settings: [],
  sysctl: ["net.ipv6.conf.flannel-v6/1.disable_ipv6 = 0", "net.ipv6.conf.flannel-v6/1.accept_ra = 0"],
  address: "inet6 fd00:5:0:1::/128 scope global flannel-v6.1",
  neighbour: "fd00:5:0:2:: dev flannel-v6.1 lladdr 02:00:00:00:01:02 PERMANENT",
  fdb: "02:00:00:00:01:02 dev flannel-v6.1 dst 2001:db8::2 self permanent",
  route: "fd00:5:0:2::/64 via fd00:5:0:2:: dev flannel-v6.1 metric 1024 onlink pref medium",
};

/** Containers have IPv4's MTU. */
const dualIpv6Lines = { ...ipv6Lines, route: ipv6Lines.route.replace("onlink", "onlink mtu 1430") };

describe("vxlan", () => {
  it.each([
    ["IPv4", ipv4Only, [ipv4Lines], 1450, ["flannel.1"]],
    ["IPv6-only", ipv6Only, [ipv6Lines], 1430, ["flannel-v6.1"]],
    ["dual-stack", dual, [ipv4Lines, dualIpv6Lines], 1450, ["flannel.1", "flannel-v6.1"]],
  ])("plans %s as flannel does", (_name, network, families, mtuBytes, devices) => {
    const backend = backendOf(network, '"Type":"vxlan"');
    const plan = backend.plan(own, [peer(2)], facts);
    const kinds = ["link", "settings", "sysctl", "address", "neighbour", "fdb", "route"] as const;
    expect(hostStateLines(plan.state)).toEqual(kinds.flatMap((kind) => families.flatMap((lines) => lines[kind])));
    expect(plan).toMatchObject({ plannedPeers: 1, skipped: [] });
    expect(backend.mtuBytes(facts)).toBe(mtuBytes);
    expect(backend.devices).toEqual(devices);
  });

  it("follows its keys", () => {
    const backend = backendOf(ipv4Only, '"Type":"vxlan","VNI":7,"Port":4789,"GBP":true,"Learning":true,"mtu":1400');
    expect(hostStateLines(backend.plan(own, [], facts).state)[0]).toBe(
      "flannel.7 address 02:00:00:00:00:01 mtu 1350 type vxlan id 7 local 192.0.2.1 dev eth0 dstport 4789 learning gbp",
    );
    expect(backend.mtuBytes(facts)).toBe(1350);
  });

  it("takes VNI 0 as upstream does: flannel.0, and 0 in the lease", () => {
    const backend = backendOf(ipv4Only, '"Type":"vxlan","VNI":0');
    expect(hostStateLines(backend.plan(own, [], facts).state)[0]).toMatch(/^flannel\.0 .* type vxlan id 0 /);
    expect(JSON.stringify(backend.attributes(facts).backendData)).toBe('{"VNI":0,"VtepMAC":"02:00:00:00:00:01"}');
  });

  it("never plans more than the external interface carries, and follows it", () => {
    const backend = backendOf(ipv4Only, '"Type":"vxlan","MTU":9000');
    expect(backend.mtuBytes(facts)).toBe(1450);
    expect(backend.mtuBytes({ ...facts, externalInterface: { ...eth0, mtuBytes: 9001 } })).toBe(8950);
  });

  it("ends the tunnel at the interface address and announces the public one", () => {
    const behindNat = { ...facts, externalInterface: { ...eth0, publicIp: parseAddress("203.0.113.9") } };
    const backend = backendOf(ipv4Only, '"Type":"vxlan"');
    expect(backend.plan(own, [], behindNat).state.link?.[0]).toMatchObject({ local: "192.0.2.1" });
    expect(backend.attributes(behindNat).publicIp).toBe("203.0.113.9");
  });

  it.each([
    [ipv4Only, { publicIp: "192.0.2.1", backendType: "vxlan", backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:01" } }],
    [
      ipv6Only,
      { publicIpv6: "2001:db8::1", backendType: "vxlan", backendV6Data: { VNI: 1, VtepMAC: "02:00:00:00:01:01" } },
    ],
    [
      dual,
      {
        publicIp: "192.0.2.1",
        publicIpv6: "2001:db8::1",
        backendType: "vxlan",
        backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:01" },
        backendV6Data: { VNI: 1, VtepMAC: "02:00:00:00:01:01" },
      },
    ],
  ])("announces for %s", (network, attributes) => {
    const announced = backendOf(network, '"Type":"vxlan"').attributes(facts);
    expect(announced).toEqual(attributes);
    if ("backendData" in attributes) {
      expect(JSON.stringify(announced.backendData)).toBe('{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}');
    }
  });

  it("says what to do when the interface lacks an address of an enabled family", () => {
    const { publicIpv6: _, ...withoutIpv6 } = eth0;
    const backend = backendOf(dual, '"Type":"vxlan"');
    expect(() => backend.attributes({ ...facts, externalInterface: withoutIpv6 })).toThrow(
      /eth0 has no IPv6 address: add one, choose another interface with --iface, or set --public-ipv6/,
    );
  });

  it("routes plainly to peers on the link with DirectRouting, and through the tunnel to the others", () => {
    const backend = backendOf(ipv4Only, '"Type":"vxlan","DirectRouting":true');
    expect(backend.needsLookUp(peer(2))).toBe(true);
    const near: HostFacts = { ...facts, directPeers: new Set([parseAddress("192.0.2.2")]) };
    const lines = hostStateLines(backend.plan(own, [peer(2), peer(3)], near).state);
    expect(lines.filter((line) => line.includes("10.5.2.0"))).toEqual(["10.5.2.0/24 via 192.0.2.2 dev eth0 proto 241"]);
    expect(lines.filter((line) => line.includes("10.5.3.0/24"))).toEqual([
      "10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink",
    ]);
    expect(lines.filter((line) => line.includes("lladdr"))).toHaveLength(1);
    const withoutDirect = backendOf(ipv4Only, '"Type":"vxlan"').plan(own, [peer(2)], near).state;
    expect(hostStateLines(withoutDirect)).toContain(ipv4Lines.route);
  });

  it.each([
    ["0a-00-00-00-00-2B", "0a:00:00:00:00:2b"],
    ["0a00.0000.002b", "0a:00:00:00:00:2b"],
    ["0A:00:00:00:00:2B", "0a:00:00:00:00:2b"],
  ])("reads the MAC form %s", (written, read) => {
    const { state } = backendOf(ipv4Only, '"Type":"vxlan"').plan(own, [peer(2, {}, mac(written))], facts);
    expect(state.neighbour?.[0]?.mac).toBe(read);
    expect(state.fdb?.[0]?.mac).toBe(read);
  });

  it.each<[string, Lease, string]>([
    ["another backend", peer(2, {}, { backendType: "udp" }), 'has backend type "udp", not vxlan'],
    [
      "host-gw behind a router",
      peer(2, {}, { backendType: "host-gw" }),
      'has backend type "host-gw", not vxlan, and its host is not on a link of this host',
    ],
    ["a multicast MAC", peer(2, {}, mac("01:00:5e:00:00:01")), "is not the MAC of an Ethernet interface"],
    ["a zero MAC", peer(2, {}, mac("00:00:00:00:00:00")), "is not the MAC of an Ethernet interface"],
    ["a long MAC", peer(2, {}, mac("02:00:00:00:00:00:00:01")), "is not the MAC of an Ethernet interface"],
    ["mixed separators", peer(2, {}, mac("02:00-00:00:00:01")), "is not the MAC of an Ethernet interface"],
    ["no data", peer(2, {}, { backendData: null }), "has no VtepMAC"],
    ["text as data", peer(2, {}, { backendData: "02:00:00:00:00:02" }), "has no VtepMAC"],
    ["our MAC", peer(2, {}, mac("02:00:00:00:00:01")), "announces this host's own VTEP MAC"],
    [
      "our address",
      peer(2, {}, { publicIp: parseAddress("192.0.2.1") }),
      "announces this host's own address 192.0.2.1",
    ],
    [
      "the zero address",
      peer(2, {}, { publicIp: parseAddress("0.0.0.0") }),
      "PublicIP 0.0.0.0 is not a host's address",
    ],
    ["multicast", peer(2, {}, { publicIp: parseAddress("224.0.0.1") }), "PublicIP 224.0.0.1 is not a host's address"],
    ["loopback", peer(2, {}, { publicIp: parseAddress("127.0.0.1") }), "PublicIP 127.0.0.1 is not a host's address"],
    ["IPv6", peer(2, {}, { publicIp: parseAddress("2001:db8::7") }), "PublicIP 2001:db8::7 is not a host's address"],
    ["a loop", peer(2, {}, { publicIp: parseAddress("10.5.2.7") }), "PublicIP 10.5.2.7 lies inside its own subnet"],
    ["the whole Internet", peer(2, { subnet: parsePrefix("0.0.0.0/0") }), "subnet 0.0.0.0/0 is not inside the network"],
    [
      "a foreign subnet",
      peer(2, { subnet: parsePrefix("10.6.2.0/24") }),
      "subnet 10.6.2.0/24 is not inside the network",
    ],
    [
      "the whole network",
      peer(2, { subnet: parsePrefix("10.5.0.0/16") }),
      "subnet 10.5.0.0/16 overlaps this host's own subnet",
    ],
    [
      "our subnet",
      peer(2, { subnet: parsePrefix("10.5.1.0/24") }),
      "subnet 10.5.1.0/24 overlaps this host's own subnet",
    ],
    [
      "a part of ours",
      peer(2, { subnet: parsePrefix("10.5.1.128/25") }),
      "subnet 10.5.1.128/25 overlaps this host's own subnet",
    ],
  ])("skips a lease with %s and keeps the others", (_name, hostile, reason) => {
    const backend = backendOf(ipv4Only, '"Type":"vxlan"');
    const plan = backend.plan(own, [hostile, peer(3)], facts);
    expect(plan.skipped).toMatchObject([{ key: hostile.key, reason: expect.stringContaining(reason) }]);
    expect(plan.state.route?.map(({ destination }) => destination)).toEqual(["10.5.3.0/24"]);
    expect(plan.plannedPeers).toBe(1);
  });

  it("skips a lease over this host's own address inside the network", () => {
    const inside = { ...facts, externalInterface: { ...eth0, address: parseAddress("10.5.2.9") } };
    const plan = backendOf(ipv4Only, '"Type":"vxlan"').plan(own, [peer(2)], inside);
    expect(skippedLines(plan)).toEqual(["10.5.2.0-24: subnet 10.5.2.0/24 overlaps this host's own address 10.5.2.9"]);
  });

  it("keeps the usable family of a lease whose other family is broken", () => {
    const broken = peer(2, {}, { backendV6Data: { VtepMAC: "?" } });
    const plan = backendOf(dual, '"Type":"vxlan"').plan(own, [broken], facts);
    expect(plan.state.route?.map(({ destination }) => destination)).toEqual(["10.5.2.0/24"]);
    expect(plan.plannedPeers).toBe(1);
    expect(skippedLines(plan)).toEqual(['10.5.2.0-24: VtepMAC "?" is not the MAC of an Ethernet interface']);
  });

  it("gives a subnet to the lease that was created first, whatever the order and whoever wrote last", () => {
    const first = peer(2, { key: "first", createdAt: revision(5), revision: revision(5) });
    const second = peer(
      2,
      { key: "second", createdAt: revision(9), revision: revision(99) },
      { ...mac("02:00:00:00:00:77"), publicIp: parseAddress("192.0.2.77") },
    );
    for (const peers of [
      [first, second],
      [second, first],
    ]) {
      const plan = backendOf(ipv4Only, '"Type":"vxlan"').plan(own, peers, facts);
      expect(plan.state.neighbour?.map((neighbour) => neighbour.mac)).toEqual(["02:00:00:00:00:02"]);
      expect(skippedLines(plan)).toEqual([
        "second: subnet 10.5.2.0/24 overlaps the older lease first of host 192.0.2.2",
      ]);
    }
  });

  it("follows a host that has changed the key of its lease, as senior as it was, and reports nothing", () => {
    const before = peer(2, { key: "before", createdAt: revision(5) });
    const now = peer(2, { key: "now", subnet: parsePrefix("10.5.2.0/25"), createdAt: revision(9) });
    const between = peer(4, { key: "between", subnet: parsePrefix("10.5.2.0/26"), createdAt: revision(7) });
    const plan = backendOf(ipv4Only, '"Type":"vxlan"').plan(own, [before, between, now], facts);
    expect(plan.state.route?.map(({ destination }) => destination)).toEqual(["10.5.2.0/25"]);
    expect(skippedLines(plan)).toEqual(["between: subnet 10.5.2.0/26 overlaps the older lease now of host 192.0.2.2"]);
  });

  it("serves the family of a lease that takes nothing from anybody", () => {
    const old = peer(2, { ipv6Subnet: parsePrefix("fd00:5:0:9::/64") });
    const half = peer(3, { key: "half", subnet: parsePrefix("10.5.2.0/24"), createdAt: revision(9) });
    const plan = backendOf(dual, '"Type":"vxlan"').plan(own, [old, half], facts);
    expect(plan.state.route?.map(({ destination }) => destination)).toEqual([
      "10.5.2.0/24",
      "fd00:5:0:9::/64",
      "fd00:5:0:3::/64",
    ]);
    expect(skippedLines(plan)).toEqual([
      "half: subnet 10.5.2.0/24 overlaps the older lease 10.5.2.0-24 of host 192.0.2.2",
    ]);
  });

  it("sends one MAC to one host only, and lets a host hold two leases", () => {
    const backend = backendOf(ipv4Only, '"Type":"vxlan"');
    const stolen = backend.plan(own, [peer(2), peer(3, {}, mac("02:00:00:00:00:02"))], facts);
    expect(skippedLines(stolen)).toEqual(["10.5.2.0-24: 10.5.3.0-24 has the same VtepMAC 02:00:00:00:00:02"]);
    const second = peer(3, {}, { ...mac("02:00:00:00:00:02"), publicIp: parseAddress("192.0.2.2") });
    expect(backend.plan(own, [peer(2), second], facts).plannedPeers).toBe(2);
  });
});

describe("host-gw", () => {
  it("plans plain routes for both families and nothing else", () => {
    const backend = backendOf(dual, '"Type":"HOST-GW"');
    const plan = backend.plan(own, [peer(2, {}, { backendType: "host-gw" }), peer(3)], facts);
    expect(hostStateLines(plan.state)).toEqual([
      "10.5.2.0/24 via 192.0.2.2 dev eth0 proto 241",
      "fd00:5:0:2::/64 via 2001:db8::2 dev eth0 proto 241 metric 1024 pref medium",
    ]);
    const offLink = 'has backend type "vxlan", not host-gw, and its host is not on a link of this host';
    expect(new Set(skippedLines(plan))).toEqual(new Set([`10.5.3.0-24: ${offLink}`]));
    expect(backend).toMatchObject({ devices: [] });
    expect(backend.needsLookUp(peer(2, {}, { backendType: "host-gw" }))).toBe(false);
    expect(backend.mtuBytes(facts)).toBe(1500);
    expect(backend.attributes(facts)).toEqual({
      publicIp: "192.0.2.1",
      publicIpv6: "2001:db8::1",
      backendType: "host-gw",
    });
  });

  it("routes plainly to vxlan's hosts on its link, as they to it, so that a cluster can change host by host", () => {
    const near: HostFacts = { ...facts, directPeers: new Set([parseAddress("192.0.2.2")]) };
    const [hostGw, vxlan] = [backendOf(ipv4Only, '"Type":"host-gw"'), backendOf(ipv4Only, '"Type":"vxlan"')];
    const ofHostGw = peer(2, {}, { backendType: "host-gw" });
    expect([hostGw.needsLookUp(peer(2)), vxlan.needsLookUp(ofHostGw), vxlan.needsLookUp(peer(2))]).toEqual([
      true,
      true,
      false,
    ]);
    const plain = "10.5.2.0/24 via 192.0.2.2 dev eth0 proto 241";
    expect(hostStateLines(hostGw.plan(own, [peer(2)], near).state)).toEqual([plain]);
    const mixed = vxlan.plan(own, [ofHostGw, peer(3)], near);
    expect(mixed.plannedPeers).toBe(2);
    const lines = hostStateLines(mixed.state).filter((line) => /^10\.5\.[23]\.0| dst /.test(line));
    expect(lines.filter((line) => line.startsWith("10.5.2.0"))).toEqual([plain]);
    expect(lines.filter((line) => !line.startsWith("10.5.2.0"))).toHaveLength(3);
    const wireguard = peer(4, {}, { backendType: "wireguard" });
    expect(skippedLines(vxlan.plan(own, [wireguard], near))).toEqual([
      '10.5.4.0-24: has backend type "wireguard", not vxlan',
    ]);
  });

  it("refuses to work behind NAT and says what to do", () => {
    const behindNat = { ...facts, externalInterface: { ...eth0, publicIp: parseAddress("203.0.113.9") } };
    expect(() => backendOf(ipv4Only, '"Type":"host-gw"').attributes(behindNat)).toThrow(
      /203\.0\.113\.9 is not the interface's address \(192\.0\.2\.1\).*omit --public-ip, or use the vxlan backend/,
    );
  });
});

describe("alloc", () => {
  it("leases and plans nothing", () => {
    const backend = backendOf(ipv4Only, '"Type":"alloc"');
    expect(backend.attributes(facts)).toEqual({ publicIp: "192.0.2.1" });
    expect(hostStateLines(backend.plan(own, [peer(2)], facts).state)).toEqual([]);
    expect(backend.mtuBytes(facts)).toBe(1500);
  });
});

describe("createBackend", () => {
  it.each([
    ['"Type":"gre"', 'Backend.Type "gre" is not a backend of this version: the backends are vxlan, host-gw, udp, '],
    ['"Type":"vxlna"', "(did you mean vxlan?)"],
    ['"Type":"vxlan","VNI":-1', "Backend.VNI -1 must be from 0 to 16777215"],
    ['"Type":"vxlan","VNI":16777216', "Backend.VNI 16777216 must be from 0 to 16777215"],
    ['"Type":"vxlan","VNI":"1"', "Backend.VNI 1 must be an integer, not a string"],
    ['"Type":"vxlan","Port":65536', "Backend.Port 65536 must be from 0 to 65535"],
    ['"Type":"vxlan","GBP":1', "Backend.GBP 1 must be true or false, not a number"],
    ['"Type":"vxlan","MTU":-1', "Backend.MTU -1 must be from 0 to 65535"],
    ['"Type":"vxlan","MTU":100', "Backend.MTU 100 must be 0 or at least 118, which IPv4 needs"],
  ])("refuses %s", (backend, message) => {
    expect(() => backendOf(ipv4Only, backend)).toThrow(message);
  });
});

describe("fuzzing", () => {
  const scalar = fc.oneof(fc.constant(null), fc.boolean(), fc.integer(), fc.double(), fc.string());
  const value = fc.oneof(scalar, fc.array(scalar), fc.dictionary(fc.string(), scalar));

  it("backend keys: a backend or config.invalid, for random objects", () => {
    const name = fc.oneof(
      fc.constantFrom("VNI", "vni", "Port", "GBP", "MTU", "Learning", "DirectRouting"),
      fc.string(),
    );
    const backend = fc.dictionary(name, value);
    const { config } = parseConfig(`{${dual},"Backend":{"Type":"vxlan"}}`);
    const check = (type: string, keys: Record<string, unknown>): void => {
      try {
        createBackend({ ...config, backendType: type, backend: { Type: type, ...keys } });
      } catch (error) {
        if (!(error instanceof FlannelError) || error.code !== "CONFIG_INVALID") throw error;
      }
    };
    const type = fc.oneof(fc.constantFrom("vxlan", "host-gw", "alloc"), fc.string());
    fc.assert(fc.property(type, backend, check), propertyRuns(100_000));
  });

  const prefix = fc
    .oneof(
      fc.tuple(
        fc.constantFrom("10.5.0.0", "10.5.1.0", "10.5.2.0", "10.5.1.128", "10.9.0.0"),
        fc.integer({ min: 0, max: 32 }),
      ),
      fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })),
      fc.tuple(fc.constantFrom("fd00:5::", "fd00:5:0:1::", "fd00:5:0:2::"), fc.integer({ min: 0, max: 128 })),
    )
    .map(([address, length]) => networkOf(tryParsePrefix(`${address}/${length}`) ?? parsePrefix("10.5.7.0/24")));
  const address = fc
    .oneof(fc.constantFrom("192.0.2.1", "192.0.2.2", "0.0.0.0", "10.5.2.1", "2001:db8::2", "::"), fc.ipV4())
    .map(parseAddress);
  const vtep = fc.record({ VtepMAC: fc.oneof(fc.constantFrom("02:00:00:00:00:07", "02:00:00:00:00:01"), fc.string()) });
  const data: fc.Arbitrary<BackendData> = fc.oneof(vtep, value as fc.Arbitrary<BackendData>);
  const lease: fc.Arbitrary<Lease> = fc
    .record(
      {
        subnet: prefix,
        ipv6Subnet: prefix,
        publicIp: address,
        publicIpv6: address,
        backendType: fc.oneof(fc.constantFrom("vxlan", "host-gw"), fc.string()),
        backendData: data,
        backendV6Data: data,
        order: fc.integer({ min: 0, max: 5 }),
      },
      { requiredKeys: ["order"] },
    )
    .map(({ subnet, ipv6Subnet, order, ...attributes }) => ({
      key: `${subnet ?? ""}&${ipv6Subnet ?? ""}`,
      ...(subnet !== undefined && { subnet }),
      ...(ipv6Subnet !== undefined && { ipv6Subnet }),
      revision: revision(order),
      createdAt: revision(order),
      isReservation: false,
      adapterData: 1,
      attributes,
    }));

  it("leases: never a route over our own subnet, two overlapping routes or a lost report, for random leases", () => {
    const check = (leases: readonly Lease[], type: string): void => {
      const plan = backendOf(dual, `"Type":"${type}"`).plan(own, leases, facts);
      const destinations = (plan.state.route ?? []).map(({ destination }) => destination);
      for (const [index, destination] of destinations.entries()) {
        if (overlaps(destination, own.subnet) || overlaps(destination, own.ipv6Subnet)) throw new Error(destination);
        const twin = destinations.slice(index + 1).find((other) => sameFamilyOverlap(destination, other));
        if (twin !== undefined) throw new Error(`${destination} overlaps ${twin}`);
      }
      const macs = new Set(plan.state.fdb?.map((entry) => `${entry.device} ${entry.mac} ${entry.destination}`));
      const byMac = new Set(plan.state.fdb?.map((entry) => `${entry.device} ${entry.mac}`));
      if (macs.size !== byMac.size) throw new Error("one MAC leads to two hosts");
      const skippedKeys = new Set(plan.skipped.map(({ key }) => key));
      if (leases.length > 0 && plan.plannedPeers === 0 && skippedKeys.size === 0) throw new Error("nothing reported");
    };
    const types = fc.constantFrom("vxlan", "host-gw");
    fc.assert(fc.property(fc.array(lease, { minLength: 5, maxLength: 5 }), types, check), propertyRuns(20_000));
  });

  function sameFamilyOverlap(a: Prefix, b: Prefix): boolean {
    return a.includes(":") === b.includes(":") && overlaps(a, b);
  }
});

describe("planning 10,000 peers", () => {
  it("reads each lease once and then plans from memory", () => {
    const backend = createBackend(parseConfig('{"Network":"10.0.0.0/8","Backend":{"Type":"vxlan"}}').config);
    const peers = Array.from({ length: 10_000 }, (_, index) => {
      const [high, low] = [index >> 8, index & 255];
      const hex = (byte: number): string => byte.toString(16).padStart(2, "0");
      return peer(
        2,
        { key: `10.${high + 10}.${low}.0-24`, subnet: parsePrefix(`10.${high + 10}.${low}.0/24`) },
        { ...mac(`0a:00:00:00:${hex(high)}:${hex(low)}`), publicIp: `172.16.${high}.${low}` as Address },
      );
    });
    const first = backend.plan(own, peers, facts);
    const again = backend.plan(own, peers, facts);
    expect(first.plannedPeers).toBe(10_000);
    expect(again.state.route?.every((route, index) => route === first.state.route?.[index])).toBe(true);
  });
});
