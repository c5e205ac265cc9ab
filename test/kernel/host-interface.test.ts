// The external interface chosen and followed on a real kernel, and which peers it reaches without a gateway.
import { readdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { noOtherNetworks } from "../../src/agent/lifecycle/network-claims.ts";
import { openNetwork } from "../../src/agent/lifecycle/open-network.ts";
import { WarmState } from "../../src/agent/state/warm-state.ts";
import { backends, parseConfig } from "../../src/backend/registry.ts";
import { resolveAgentOptions } from "../../src/cli/flags/flanneld-flags.ts";
import { RuleHost } from "../../src/firewall/rule-host.ts";
import { type Address, parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { RtnetlinkMonitor } from "../../src/netlink/rtnetlink/monitor.ts";
import { Rtnetlink } from "../../src/netlink/rtnetlink/rtnetlink.ts";
import { ServiceDescriptors } from "../../src/sys/service-descriptors.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";
import { Metrics } from "../../src/telemetry/metrics/metrics.ts";
import { DirectPeers } from "../../src/underlay/direct-peers.ts";
import type { ExternalInterface } from "../../src/underlay/external-interface.ts";
import { ExternalInterfaceWatch } from "../../src/underlay/external-interface-watch.ts";
import type { InterfaceOptions } from "../../src/underlay/interface-facts.ts";
import { selectExternalInterface } from "../../src/underlay/select-interface.ts";

const ipv4: InterfaceOptions = { families: new Set([4]), interfaces: [], interfaceRegexes: [] };
let netlink: Rtnetlink;

beforeEach(async () => {
  netlink = Rtnetlink.open();
  // flannel's test vectors use a dummy device; a bridge serves as well.
  await box.ipBatch([
    "link add dev eth0 type veth peer name lan",
    "addr add 192.168.50.11/24 dev eth0",
    "addr add fd00:50::11/64 dev eth0 nodad",
    "link set dev lan up",
    "link set dev eth0 up",
    "link add dev dummy0 type bridge",
    ...["1.10.100.1", "192.168.200.128", "172.16.30.18", "172.16.31.200", "172.16.32.100"].map(
      (address) => `addr add ${address}/24 dev dummy0`,
    ),
    "addr add 2001:db8::1/64 dev dummy0 nodad",
    "link set dev dummy0 up",
    "route add default via 192.168.50.1",
    "route add default via fd00:50::1",
  ]);
});

afterEach(async () => {
  await netlink[Symbol.asyncDispose]();
  await box.tryRun(["sh", "-c", "ip link del dev eth0; ip link del dev eth1; ip link del dev dummy0"]);
  await box.tryRun(["ip", "-6", "route", "del", "unreachable", "default"]);
});

describe("choosing", () => {
  const dual = new Set([4, 6] as const);
  test.each<[string, Partial<InterfaceOptions>, Partial<ExternalInterface>]>([
    [
      "regex for an address",
      { interfaceRegexes: ["192\\.168\\.200\\.\\d+"] },
      { name: "dummy0", address: ip("192.168.200.128") },
    ],
    ["regex for a name", { interfaceRegexes: ["dummy\\d+"] }, { name: "dummy0", address: ip("1.10.100.1") }],
    ["name", { interfaces: ["dummy0"] }, { name: "dummy0", address: ip("1.10.100.1") }],
    ["address", { interfaces: ["172.16.30.18"] }, { name: "dummy0", address: ip("172.16.30.18") }],
    [
      "regex and public IP",
      { interfaceRegexes: ["172\\.16\\.30\\.\\d+"], publicIp: "172.16.31.200" },
      { name: "dummy0", address: ip("172.16.30.18"), publicIp: ip("172.16.31.200") },
    ],
    ["can reach", { canReach: "172.16.32.254" }, { name: "dummy0", address: ip("172.16.32.100") }],
    [
      "default route",
      {},
      { name: "eth0", address: ip("192.168.50.11"), publicIp: ip("192.168.50.11"), mtuBytes: 1500 },
    ],
    ["public IP of this host", { publicIp: "172.16.31.200" }, { name: "dummy0", address: ip("172.16.31.200") }],
    [
      "public IP behind NAT",
      { publicIp: "203.0.113.9" },
      { name: "eth0", address: ip("192.168.50.11"), publicIp: ip("203.0.113.9") },
    ],
    ["dual stack", { families: dual }, { name: "eth0", address: ip("192.168.50.11"), ipv6Address: ip("fd00:50::11") }],
    [
      "IPv6 only",
      { families: new Set([6] as const) },
      { name: "eth0", ipv6Address: ip("fd00:50::11"), publicIpv6: ip("fd00:50::11") },
    ],
    ["dual stack by name", { families: dual, interfaces: ["dummy0"] }, { ipv6Address: ip("2001:db8::1") }],
  ])("%s", async (_, options, expected) => {
    const { interface: chosen } = await selectExternalInterface({ ...ipv4, ...options }, netlink);
    expect(chosen).toMatchObject(expected);
    expect(chosen.isUp).toBe(true);
  });

  test("a source the kernel prefers by the route is taken", async () => {
    await box.ip("route", "add", "198.51.100.0/24", "via", "172.16.32.1", "src", "172.16.31.200");
    const { interface: chosen } = await selectExternalInterface({ ...ipv4, canReach: "198.51.100.1" }, netlink);
    expect(chosen).toMatchObject({ name: "dummy0", address: "172.16.31.200" });
  });

  test("of a default route with several next hops the first usable one's device is taken, in both families", async () => {
    await box.ipBatch([
      "link add dev eth1 type veth peer name lan1",
      "addr add 192.168.51.11/24 dev eth1",
      "addr add fd00:51::11/64 dev eth1 nodad",
      "link set dev lan1 up",
      "link set dev eth1 up",
    ]);
    const viaBoth = (first: string, second: string): string[] => [
      ...["nexthop", "via", first, "weight", "1"],
      ...["nexthop", "via", second, "weight", "9"],
    ];
    await box.ip("route", "replace", "default", ...viaBoth("192.168.50.1", "192.168.51.1"));
    await box.ip("-6", "route", "replace", "default", ...viaBoth("fd00:50::1", "fd00:51::1"));
    for (const families of [new Set([4] as const), new Set([6] as const), dual]) {
      const { interface: chosen } = await selectExternalInterface({ ...ipv4, families }, netlink);
      expect(chosen.name).toBe("eth0");
    }
    // The kernel marks next hops whose link has no carrier.
    await box.ip("link", "set", "dev", "lan", "down");
    await until(async () => (await box.ip("route", "show", "default")).includes("linkdown"), { what: "no carrier" });
    await expect(selectExternalInterface(ipv4, netlink)).resolves.toMatchObject({ interface: { name: "eth1" } });
  });

  test("a default route through a next-hop object, also where the kernel names nothing but the object", async () => {
    await box.ipBatch([
      "link add dev eth1 type veth peer name lan1",
      "addr add 192.168.51.11/24 dev eth1",
      "link set dev lan1 up",
      "link set dev eth1 up",
      "nexthop add id 7 via 192.168.51.1 dev eth1",
      "nexthop add id 8 via 192.168.50.1 dev eth0",
      "nexthop add id 9 group 7/8",
    ]);
    await box.run(["sysctl", "-qw", "net.ipv4.nexthop_compat_mode=0"]);
    try {
      for (const [nextHop, name] of [
        ["7", "eth1"],
        ["8", "eth0"],
        ["9", "eth1"],
      ] as const) {
        await box.ip("route", "replace", "default", "nhid", nextHop);
        await expect(selectExternalInterface(ipv4, netlink)).resolves.toMatchObject({ interface: { name } });
      }
    } finally {
      await box.run(["sysctl", "-qw", "net.ipv4.nexthop_compat_mode=1"]);
      await box.ip("nexthop", "flush");
    }
  });

  test("an alternative name", async () => {
    await box.ip("link", "property", "add", "dev", "dummy0", "altname", "enx0123456789abcdef-long-name");
    const options = { ...ipv4, interfaces: ["enx0123456789abcdef-long-name"] };
    await expect(selectExternalInterface(options, netlink)).resolves.toMatchObject({ interface: { name: "dummy0" } });
  });

  test("an address on the loopback device: the way out, its MTU, and the address", async () => {
    await box.ip("addr", "add", "10.77.0.1/32", "dev", "lo");
    try {
      for (const options of [
        { publicIp: "10.77.0.1" },
        { interfaces: ["lo"] },
        { interfaces: ["eth0"], publicIp: "10.77.0.1" },
      ]) {
        const { interface: chosen } = await selectExternalInterface({ ...ipv4, ...options }, netlink);
        expect(chosen).toMatchObject({ name: "eth0", mtuBytes: 1500, address: "10.77.0.1", publicIp: "10.77.0.1" });
      }
    } finally {
      await box.ip("addr", "del", "10.77.0.1/32", "dev", "lo");
    }
  });

  test("an address is awaited while the kernel checks whether another host has it", async () => {
    const v6: InterfaceOptions = { ...ipv4, families: new Set([6] as const), interfaces: ["eth0"] };
    await box.ip("addr", "del", "fd00:50::11/64", "dev", "eth0");
    await box.ip("addr", "add", "fd00:50::12/64", "dev", "eth0");
    // Link-local is free already, and would be taken if nobody waited.
    expect(await box.ip("-6", "addr", "show", "dev", "eth0", "tentative")).toContain("fd00:50::12");
    const { interface: chosen } = await selectExternalInterface(v6, netlink);
    expect(chosen.ipv6Address).toBe("fd00:50::12");
    expect(await box.ip("-6", "addr", "show", "dev", "eth0", "tentative")).not.toContain("fd00:50::12");
  });

  test("an address that another host has is never announced", async () => {
    const v6: InterfaceOptions = { ...ipv4, families: new Set([6] as const), interfaces: ["eth0"] };
    await box.ip("addr", "add", "fd00:50::66/64", "dev", "lan", "nodad");
    await box.ip("addr", "del", "fd00:50::11/64", "dev", "eth0");
    await box.ip("addr", "add", "fd00:50::66/64", "dev", "eth0");
    await until(async () => (await box.ip("-6", "addr", "show", "dev", "eth0")).includes("dadfailed"), {
      what: "duplicate address detection to fail",
    });
    await box.ip("addr", "del", "fd00:50::66/64", "dev", "lan");
    const { interface: chosen } = await selectExternalInterface(v6, netlink);
    expect(chosen.ipv6Address).toMatch(/^fe80:/);
    const named = selectExternalInterface({ ...v6, interfaces: ["fd00:50::66"] }, netlink);
    await expect(named).rejects.toThrow(
      /fd00:50::66 failed duplicate address detection: another host has this address/,
    );
  });

  test("a default route that leads nowhere is none", async () => {
    await box.ip("-6", "route", "del", "default");
    await box.ip("-6", "route", "add", "unreachable", "default");
    await expect(selectExternalInterface({ ...ipv4, families: new Set([6]) }, netlink)).rejects.toThrow(
      /no IPv6 default route/,
    );
  });

  test("no default route, no such interface: all interfaces are listed", async () => {
    await box.ip("route", "del", "default");
    await expect(selectExternalInterface(ipv4, netlink)).rejects.toThrow(
      /no IPv4 default route.*eth0 \(192\.168\.50\.11/s,
    );
    await expect(selectExternalInterface({ ...ipv4, canReach: "8.8.8.8" }, netlink)).rejects.toThrow(
      /no route to 8\.8\.8\.8/,
    );
    await expect(selectExternalInterface({ ...ipv4, interfaces: ["eth9"] }, netlink)).rejects.toMatchObject({
      code: "INTERFACE_NOT_FOUND",
    });
  });
});

describe("following", () => {
  let seen: { external: ExternalInterface; reason: string | undefined }[];
  let watch: ExternalInterfaceWatch;

  beforeEach(async () => {
    seen = [];
    const { interface: initial } = await selectExternalInterface(ipv4, netlink);
    watch = await ExternalInterfaceWatch.open({
      initial,
      selection: ipv4,
      rtnetlink: netlink,
      logger: silentLogger,
      onChange: ({ interface: external, reason }) => seen.push({ external, reason }),
    });
  });

  afterEach(() => watch[Symbol.asyncDispose]());

  const becomes = (expected: Partial<ExternalInterface>) =>
    until(() => Object.entries(expected).every(([key, value]) => Reflect.get(watch.current, key) === value), {
      what: `${JSON.stringify(expected)} in ${JSON.stringify(watch.current)}`,
    });

  test("MTU", async () => {
    await box.ip("link", "set", "dev", "eth0", "mtu", "1400");
    await becomes({ mtuBytes: 1400 });
    expect(seen).toHaveLength(1);
  });

  test("another address", async () => {
    await box.run(["sh", "-c", "ip addr del 192.168.50.11/24 dev eth0; ip addr add 192.168.50.21/24 dev eth0"]);
    await becomes({ address: ip("192.168.50.21"), publicIp: ip("192.168.50.21"), isUp: true });
  });

  test("an address that vanishes and returns", async () => {
    await box.ip("addr", "del", "192.168.50.11/24", "dev", "eth0");
    await becomes({ isUp: false, address: ip("192.168.50.11") });
    expect(watch.reason).toBe("interface eth0 lost its address");
    await box.ip("addr", "add", "192.168.50.11/24", "dev", "eth0");
    await becomes({ isUp: true });
    expect(watch.reason).toBeUndefined();
  });

  test("a floating address does not stand in for a lost one", async () => {
    await box.ip("addr", "add", "192.168.50.100/32", "dev", "eth0");
    await box.ip("addr", "del", "192.168.50.11/24", "dev", "eth0");
    await becomes({ isUp: false, address: ip("192.168.50.11") });
    expect(watch.reason).toMatch(/192\.168\.50\.100 may be a floating address/);
    await box.ip("addr", "add", "192.168.50.11/24", "dev", "eth0");
    await becomes({ isUp: true, address: ip("192.168.50.11") });
  });

  test("another name", async () => {
    await box.ip("link", "set", "dev", "eth0", "down");
    await box.ip("link", "set", "dev", "eth0", "name", "ens3");
    await box.ip("link", "set", "dev", "ens3", "up");
    await becomes({ isUp: true, name: "ens3" });
    await box.ip("link", "set", "dev", "ens3", "name", "eth0");
    await becomes({ isUp: true, name: "eth0" });
  });

  test("the address moves to a bridge over the interface", async () => {
    await box.ipBatch(["link add dev br0 mtu 1400 type bridge", "link set dev br0 up", "link set dev eth0 master br0"]);
    await box.ip("addr", "del", "192.168.50.11/24", "dev", "eth0");
    await becomes({ isUp: false, name: "eth0" });
    await box.ip("addr", "add", "192.168.50.11/24", "dev", "br0");
    await becomes({ isUp: true, name: "br0", address: ip("192.168.50.11"), mtuBytes: 1500 });
    await box.ip("link", "del", "dev", "br0");
  });

  test("down and up", async () => {
    await box.ip("link", "set", "dev", "eth0", "down");
    await becomes({ isUp: false });
    await box.ip("link", "set", "dev", "eth0", "up");
    await becomes({ isUp: true });
  });

  test("deleted and made again", async () => {
    const before = watch.current.index;
    await box.ip("link", "del", "dev", "eth0");
    // The kernel tells of it going down first.
    await until(() => watch.reason === "interface eth0 no longer exists", { what: "the interface to be gone" });
    expect(watch.current.isUp).toBe(false);
    await box.ipBatch([
      "link add dev eth0 type veth peer name lan",
      "addr add 192.168.50.31/24 dev eth0",
      "link set dev lan up",
      "link set dev eth0 up",
    ]);
    await becomes({ isUp: true, address: ip("192.168.50.31") });
    expect(watch.current.index).not.toBe(before);
  });

  test("what others do on other interfaces is not reported", async () => {
    await box.ip("addr", "add", "172.16.40.1/24", "dev", "dummy0");
    await box.ip("link", "set", "dev", "eth0", "mtu", "1300");
    await becomes({ mtuBytes: 1300 });
    expect(seen.map(({ external }) => external.mtuBytes)).toEqual([1300]);
  });
});

test("direct peers: those on the link, and as routes come and go", async () => {
  const changes: (readonly Address[])[] = [];
  const { interface: external } = await selectExternalInterface(ipv4, netlink);
  await using direct = new DirectPeers({
    rtnetlink: netlink,
    overlayNetworks: [parsePrefix("10.5.0.0/16")],
    logger: silentLogger,
    onChange: (set) => changes.push([...set]),
  });
  const near = ["192.168.50.12", "192.168.50.13"].map(ip);
  const peers = [...near, ip("172.16.30.77"), ip("8.8.8.8"), ip("192.168.50.11")];
  expect([...(await direct.setPeers(peers, external.index))]).toEqual(near);
  expect([...(await direct.setPeers([...peers, ip("192.168.50.14")], external.index))]).toEqual([
    ...near,
    "192.168.50.14",
  ]);

  await box.ip("route", "add", "192.168.50.13/32", "via", "192.168.50.1");
  await until(() => !direct.current.has(ip("192.168.50.13")), { what: "a peer behind a gateway" });
  await box.ip("route", "del", "192.168.50.13/32");
  await until(() => direct.current.has(ip("192.168.50.13")), { what: "the peer back on the link" });
  await box.ip("link", "set", "dev", "eth0", "down");
  await until(() => direct.current.size === 0, { what: "nobody on a link that is down" });
  expect(changes).toHaveLength(5);
  expect([...(await direct.setPeers([], external.index))]).toEqual([]);
});

test("an opening that fails at any point leaves nothing open, and the next one succeeds", async () => {
  await box.ip("-6", "addr", "flush", "dev", "eth0");
  const { follow } = RtnetlinkMonitor.prototype;
  const monitors = vi.spyOn(RtnetlinkMonitor.prototype, "follow");
  using _spied = { [Symbol.dispose]: () => monitors.mockRestore() };
  const tryOpening = async (failAt: number) => {
    let opened = 0;
    monitors.mockImplementation(function (this: RtnetlinkMonitor, options) {
      if (++opened === failAt) throw new Error("no descriptor is left");
      return follow.call(this, options);
    });
    await using _network = await openNetwork(dualStack());
  };
  // What is opened once and stays, such as the poll of the process, is open after this.
  await tryOpening(0);
  const openBefore = openFiles();
  const count = monitors.mock.calls.length;
  expect(count).toBeGreaterThanOrEqual(4);
  for (let failAt = 1; failAt <= count; failAt++) {
    await expect(tryOpening(failAt)).rejects.toThrow("no descriptor is left");
    await until(() => openFiles() === openBefore, { what: `nothing to be open after failure ${failAt}` });
  }
  await tryOpening(0);
});

function dualStack(): Parameters<typeof openNetwork>[0] {
  const text =
    '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/56","Backend":{"Type":"vxlan","VNI":77}}';
  const invocation = resolveAgentOptions([], {});
  if (invocation.action !== "run") throw new Error("not an agent's options");
  return {
    backends,
    config: parseConfig(text).config,
    agentOptions: invocation.options,
    networkIdentity: { id: "opening", isUsual: false, description: "a test's", flag: "--etcd-prefix" },
    remembered: undefined,
    announced: undefined,
    descriptorStore: new ServiceDescriptors(new Map()),
    rtnetlink: netlink,
    ruleHost: new RuleHost(),
    logger: silentLogger,
    metrics: new Metrics().network("opening"),
    signal: new AbortController().signal,
    isStopped: () => false,
    onWaiting: () => undefined,
    warmState: new WarmState({
      ...{ directory: "/run/flannel-opening", subnetFile: "/run/flannel/subnet.env", networkId: "opening", backends },
      leaseCodec: { serialise: () => ({}), tryParse: () => undefined },
    }),
    occupied: { earlierSubnets: () => [], reached: () => [] },
    onPass: () => undefined,
    onExternalInterface: () => undefined,
    others: noOtherNetworks,
    prober: undefined,
    onIpv6Arrival: () => undefined,
  };
}

function openFiles(): number {
  return readdirSync("/proc/self/fd").length;
}

function ip(text: string): Address {
  return parseAddress(text);
}
