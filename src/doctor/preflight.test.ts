import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import type { PacketDrop } from "../firewall/packet-drop.ts";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import type { RuleMessage } from "../netlink/rtnetlink/messages.ts";
import { causes } from "./causes.ts";
import type { CheckContext } from "./check.ts";
import { ipForward } from "./checks/ip-forward.ts";
import { rpFilter } from "./checks/rp-filter.ts";
import { preflightChecks } from "./checks.ts";
import { readUdpPorts } from "./gather-facts.ts";
import { agentFacts, type HostFacts, noFacts } from "./host-facts.ts";
import { neededFacts, runChecks } from "./preflight.ts";

const context: CheckContext = {
  families: new Set([4, 6]),
  networks: [parsePrefix("10.5.0.0/16"), parsePrefix("fd00:5::/48")],
  ownSubnets: [parsePrefix("10.5.1.0/24"), parsePrefix("fd00:5:0:1::/64")],
  earlierSubnets: [],
  externalInterface: { name: "eth0", index: 2, mtuBytes: 1500, isUp: true, address: parseAddress("192.168.50.11") },
  devices: ["flannel.1", "flannel-v6.1"],
  overlayMtuBytes: 1430,
  needs: { carriesTraffic: true, kernelDevice: { kind: "vxlan", udpPort: 8472 }, ipsecDaemon: true },
};
const clean: HostFacts = {
  ...noFacts,
  sysctls: new Map([
    ["net/ipv4/ip_forward", "1"],
    ["net/ipv6/conf/all/forwarding", "1"],
  ]),
  routes: [
    { destination: parsePrefix("0.0.0.0/0"), device: "eth0", hasGateway: true },
    { destination: parsePrefix("192.168.50.0/24"), device: "eth0", hasGateway: false },
    { destination: parsePrefix("10.5.1.0/24"), device: "cni0", hasGateway: false },
    { destination: parsePrefix("10.5.9.0/24"), device: "eth0", hasGateway: true },
  ],
  addresses: [
    { address: parsePrefix("192.168.50.11/24"), device: "eth0" },
    { address: parsePrefix("10.5.1.1/24"), device: "cni0" },
  ],
  bridges: [],
  packetDrops: [],
  unreadableRules: [],
  foreignUdpPorts: new Set([53]),
  policyRouting: { rules: [], tables: new Map() },
  deviceRefusal: undefined,
  missingIpsec: undefined,
};

const drop: PacketDrop = {
  ...{ family: 6, chain: "c", hook: "forward", what: "packets", by: "policy DROP", cure: "" },
  ...{ isCertain: false, isOfSingle: false, isOfTunnel: false, isAtBridge: false, isRewrite: false, isDockers: false },
};

function checks(facts: Partial<HostFacts>, changed: Partial<CheckContext> = {}): string[] {
  const findings = runChecks({ ...context, ...changed }, { ...clean, ...facts });
  return findings.map(({ name, severity }) => `${severity} ${name}`);
}

test("a host in order has no finding: default route, own bridge and peers' routes do not overlap", () => {
  expect(checks({})).toEqual([]);
});

test("each fact has its finding, errors first", () => {
  const facts: Partial<HostFacts> = {
    sysctls: new Map([
      ["net/ipv4/ip_forward", "0"],
      ["net/ipv6/conf/all/forwarding", "0"],
      ["net/ipv4/conf/all/rp_filter", "0"],
      ["net/ipv4/conf/flannel.1/rp_filter", "1"],
    ]),
    addresses: [{ address: parsePrefix("10.5.7.1/20"), device: "eth1" }],
    packetDrops: [{ ...drop, chain: "ip6tables FORWARD", cure: "ip6tables -P FORWARD ACCEPT" }],
    unreadableRules: ["iptables does not list table ip nat"],
    foreignUdpPorts: new Set([8472]),
    deviceRefusal: { kind: "vxlan", refusal: "Unknown device type" },
    missingIpsec: { what: "strongSwan's charon is not installed", cure: "install strongSwan" },
  };
  const expected = [
    "error kernel-module-missing",
    "error ipsec-daemon",
    "error ip-forward-off",
    "error ip-forward-off",
    "error external-mtu",
    "error rules-unreadable",
    "error vxlan-clash",
    "warning forward-drop",
    "warning network-overlap",
  ];
  expect(checks(facts, { overlayMtuBytes: 1230 })).toEqual(expected);
  // A host that only leases a subnet sends nothing.
  expect(checks(facts, { needs: { carriesTraffic: false } })).toEqual([
    "error rules-unreadable",
    "warning network-overlap",
  ]);
});

test("only the facts that the applicable checks need are gathered", () => {
  expect([...neededFacts(context, [ipForward])]).toEqual(["sysctls"]);
  expect([...neededFacts({ ...context, needs: { carriesTraffic: false } }, [ipForward])]).toEqual([]);
  expect([...neededFacts(context, preflightChecks)].sort()).toEqual([...agentFacts].sort());
});

test("names are in kebab case and each is said to mean something", () => {
  for (const [name, { meaning, effect, looksAt }] of Object.entries(causes)) {
    expect(name).toMatch(/^[a-z]+[0-9]*(-[a-z]+)*$/);
    expect(meaning).toMatch(/^[A-Z].*\.$/);
    for (const clause of [effect, looksAt]) expect(clause).toMatch(/^[^ ].*[^.]$/);
  }
});

describe("details", () => {
  test("strict reverse path filtering is trouble where it drops packets; loose outweighs it", () => {
    const values = (all: string, device: string, growth = 3): Partial<HostFacts> => ({
      counters: new Map([["TcpExt.IPReversePathFilter", { value: 9, growth }]]),
      sysctls: new Map([
        ["net/ipv4/conf/all/rp_filter", all],
        ["net/ipv4/conf/eth0/rp_filter", device],
      ]),
    });
    const found = (facts: Partial<HostFacts>, changed: Partial<CheckContext> = {}) =>
      runChecks({ ...context, ...changed }, { ...clean, ...facts }, [rpFilter]).map(({ name }) => name);
    expect(found(values("1", "0"))).toEqual(["rp-filter-strict"]);
    expect(found(values("0", "1"))).toEqual(["rp-filter-strict"]);
    expect(found(values("1", "0", 0))).toEqual([]);
    expect(found(values("2", "1"))).toEqual([]);
    expect(found(values("1", "2"), { devices: [] })).toEqual([]);
    expect(found(values("1", "0"), { families: new Set([6]) })).toEqual([]);
  });

  test("a port matters only to the backend whose device receives at it", () => {
    const foreignUdpPorts = new Set([8472]);
    const elsewhere = { carriesTraffic: true, kernelDevice: { kind: "vxlan", udpPort: 4789 } } as const;
    expect(checks({ foreignUdpPorts })).toEqual(["error vxlan-clash"]);
    expect(checks({ foreignUdpPorts }, { needs: elsewhere })).toEqual([]);
    expect(checks({ foreignUdpPorts }, { needs: { carriesTraffic: true } })).toEqual([]);
  });

  test("a policy of the other family, or one our rules pass, does no harm", () => {
    const packetDrops = [drop];
    expect(checks({ packetDrops }, { families: new Set([4]) })).toEqual([]);
  });

  test("a drop is reported by its place, and in doubt only in forward", () => {
    const of = (changed: Partial<PacketDrop>) => checks({ packetDrops: [{ ...drop, ...changed }] });
    expect(of({})).toEqual(["warning forward-drop"]);
    expect(of({ isCertain: true })).toEqual(["error forward-drop"]);
    expect(of({ hook: "prerouting" })).toEqual([]);
    expect(of({ hook: "prerouting", isCertain: true })).toEqual(["error packet-drop"]);
    expect(of({ hook: "ingress", isCertain: true, isOfTunnel: true })).toEqual(["error early-drop"]);
    expect(of({ hook: "input", isCertain: true, isOfTunnel: true })).toEqual(["error port-drop"]);
    expect(of({ hook: "output", isCertain: true, isAtBridge: true })).toEqual(["error bridge-drop"]);
    expect(of({ hook: "prerouting", isCertain: true, isDockers: true, isOfSingle: true })).toEqual([
      "error docker28-raw-drop",
    ]);
    expect(of({ hook: "forward", isCertain: true, isOfSingle: true })).toEqual(["error container-drop"]);
  });

  test("a larger route around the network is named once with its device", () => {
    const routes = [{ destination: parsePrefix("10.0.0.0/8"), device: "tun0", hasGateway: true }];
    const [finding] = runChecks(context, { ...clean, routes });
    expect(finding?.evidence).toBe(
      "the network of the containers overlaps addresses or routes of this host: 10.5.0.0/16 with the route 10.0.0.0/8 dev tun0",
    );
  });

  test("IPv4 alone is content with a small MTU", () => {
    expect(checks({}, { families: new Set([4]), overlayMtuBytes: 600 })).toEqual([]);
    expect(checks({}, { families: new Set([4]), overlayMtuBytes: 500 })).toEqual(["error external-mtu"]);
  });
});

test("a rule that leads away is named with the route it finds and a cure", () => {
  const base = { action: 1, protocol: 0, isInverted: false, isL3mdev: false, hasOtherSelectors: false } as const;
  const rules: RuleMessage[] = [
    { ...base, family: 4, priority: 100, table: 200 },
    { ...base, family: 6, priority: 50, table: 0, action: 8, from: parsePrefix("fd00:5::/48") },
    { ...base, family: 4, priority: 32_766, table: 254 },
  ];
  const route = { destination: parsePrefix("0.0.0.0/0"), type: 1, device: "eth1", isInMain: false };
  const tables = new Map([[200, [{ ...route, gateway: parseAddress("192.168.60.1") }]]]);
  const findings = runChecks(context, { ...clean, policyRouting: { rules, tables } });
  const tail = "before the lookup in the main table with flannel's routes";
  expect(findings).toMatchObject([
    {
      name: "policy-rule",
      severity: "warning",
      evidence: `the policy rule "100: from all lookup 200" sends packets for 10.5.0.0/16 to table 200, where the route "default via 192.168.60.1 dev eth1" matches, ${tail}`,
      remedy: "ip rule add pref 99 to 10.5.0.0/16 lookup main",
    },
    {
      name: "policy-rule",
      severity: "warning",
      evidence: `the policy rule "50: from fd00:5::/48 prohibit" drops packets for fd00:5::/48, ${tail}`,
      remedy: "ip -6 rule add pref 49 to fd00:5::/48 lookup main",
    },
  ]);
  expect(
    runChecks({ ...context, needs: { carriesTraffic: false } }, { ...clean, policyRouting: { rules, tables } }),
  ).toEqual([]);
});

test("the listing of UDP sockets", () => {
  const text = [
    "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops",
    "  529: 00000000:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 299531 2 0 0",
    "  530: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0 00:0 0 0 0 1 2 0 0",
  ].join("\n");
  expect(readUdpPorts(text)).toEqual([8472, 53]);
});

test("no listing, however strange, is an error", () => {
  const texts = fc.oneof(
    fc.string(),
    fc.json(),
    fc.json().map((value) => `{"nftables":[{"chain":${value}}]}`),
  );
  fc.assert(
    fc.property(texts, (text) => {
      readUdpPorts(text);
    }),
    propertyRuns(5_000),
  );
});
