// What the extension backend announces and tells its commands, in upstream's forms, and which configurations it refuses.
import { describe, expect, it, test } from "vitest";
import { revision } from "../../../test/support/revision.ts";
import type { ExtensionState } from "../../extension/extension-state.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import type { Lease, LeaseAttributes } from "../../lease/lease.ts";
import type { HostFacts } from "../backend.ts";
import { backends, createBackend, parseConfig } from "../registry.ts";

const ipv4Only = '"Network":"10.5.0.0/16"';
const ipv6Only = '"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"';
const dual = '"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"';
const facts: HostFacts = {
  externalInterface: {
    ...{ name: "eth0", index: 2, mtuBytes: 1500, isUp: true },
    address: parseAddress("192.0.2.1"),
    publicIp: parseAddress("203.0.113.1"),
    ipv6Address: parseAddress("2001:db8::1"),
    publicIpv6: parseAddress("2001:db8::1"),
  },
  ...{ identity: undefined, directPeers: new Set(), occupied: [] },
};
const own = { subnet: parsePrefix("10.5.1.0/24"), ipv6Subnet: parsePrefix("fd00:5:0:1::/64") };

function backendOf(network: string, keys = "") {
  return createBackend(parseConfig(`{${network},"Backend":{"Type":"extension"${keys}}}`).config);
}

function peer(n: number, attributes: Partial<LeaseAttributes> = {}): Lease {
  return {
    key: `10.5.${n}.0-24&fd00:5:0:${n}::-64`,
    subnet: parsePrefix(`10.5.${n}.0/24`),
    ipv6Subnet: parsePrefix(`fd00:5:0:${n}::/64`),
    revision: revision(n),
    createdAt: revision(n),
    ...{ isReservation: false, adapterData: 1 },
    attributes: {
      publicIp: parseAddress(`192.0.2.${n}`),
      publicIpv6: parseAddress(`2001:db8::${n}`),
      ...{ backendType: "extension", backendData: `data of ${n}` },
      ...attributes,
    },
  };
}

function planOf(network: string, peers: readonly Lease[], subnets = own) {
  const plan = backendOf(network).plan(subnets, peers, facts);
  // The port does not know the backend's own type.
  return { ...plan, runtime: plan.runtime as ExtensionState };
}

describe("forms", () => {
  it("announces the interface's addresses and what the first command printed", () => {
    const addresses = { publicIp: "192.0.2.1", publicIpv6: "2001:db8::1", backendType: "extension" };
    expect(backendOf(dual).attributes(facts)).toEqual(addresses);
    expect(backendOf(dual).attributes({ ...facts, startUpData: "" })).toEqual({ ...addresses, backendData: "" });
    expect(backendOf(ipv4Only).attributes({ ...facts, startUpData: "x" })).toEqual({
      ...{ publicIp: "192.0.2.1", backendType: "extension", backendData: "x" },
    });
  });

  it.each([
    [ipv4Only, ["10.5.0.0/16", "10.5.1.0/24", "::/0", "192.0.2.1", "<nil>", "::/0"]],
    [dual, ["10.5.0.0/16", "10.5.1.0/24", "fd00:5:0:1::/64", "192.0.2.1", "2001:db8::1", "fd00:5::/48"]],
    [ipv6Only, ["0.0.0.0/0", "0.0.0.0/0", "fd00:5:0:1::/64", "0.0.0.0", "2001:db8::1", "fd00:5::/48"]],
  ])("tells this host's commands its own values: %s", (network, values) => {
    const subnets = network === ipv4Only ? { subnet: own.subnet } : own;
    const { subnet: _, ...ipv6 } = own;
    const { NETWORK, SUBNET, IPV6SUBNET, PUBLIC_IP, PUBLIC_IPV6, IPV6NETWORK } = planOf(
      network,
      [],
      network === ipv6Only ? (ipv6 as typeof own) : (subnets as typeof own),
    ).runtime.own;
    expect([NETWORK, SUBNET, IPV6SUBNET, PUBLIC_IP, PUBLIC_IPV6, IPV6NETWORK]).toEqual(values);
  });

  it("tells of a peer what it is reached by, and leaves out who cannot be", () => {
    const { runtime, plannedPeers, skipped } = planOf(dual, [
      peer(2),
      peer(3, { publicIpv6: parseAddress("::1") }),
      peer(4, { backendData: { a: 1 } }),
      peer(5, { backendType: "vxlan" }),
      peer(6, { backendData: null }),
      peer(7, { publicIp: parseAddress("203.0.113.1"), publicIpv6: parseAddress("2001:db8::1") }),
    ]);
    const variables = (n: number) => ({
      ...{ SUBNET: `10.5.${n}.0/24`, PUBLIC_IP: `192.0.2.${n}` },
      ...{ IPV6SUBNET: `fd00:5:0:${n}::/64`, PUBLIC_IPV6: `2001:db8::${n}` },
    });
    expect(runtime.peers).toEqual([
      { key: peer(2).key, variables: variables(2), input: "data of 2" },
      { key: peer(3).key, variables: { ...variables(3), IPV6SUBNET: "", PUBLIC_IPV6: "" }, input: "data of 3" },
      { key: peer(6).key, variables: variables(6), input: "" },
    ]);
    expect(plannedPeers).toBe(3);
    expect(new Set(skipped.map(({ key }) => key))).toEqual(new Set([3, 4, 5, 7].map((n) => peer(n).key)));
  });

  it("has the MTU of the interface, or the one that is asked for", () => {
    expect(backendOf(dual).mtuBytes(facts)).toBe(1500);
    expect(backendOf(dual, ',"MTU":1420').mtuBytes(facts)).toBe(1420);
  });

  it("says that upstream would not run a script", () => {
    expect(backendOf(dual).handoverObstacle).toBeUndefined();
    expect(backendOf(dual, ',"Shell":true').handoverObstacle).toContain("without a shell");
  });
});

test("keys are read whatever their case, and ShutdownCommand of samples is known", () => {
  const text = `{${ipv4Only},"Backend":{"Type":"Extension","subnetaddcommand":"a b","ShutdownCommand":"c"}}`;
  const { config, warnings } = parseConfig(text);
  expect(warnings).toEqual([]);
  expect(backends.create(config).type).toBe("extension");
});

test.each([
  ["PreStartupCommand", "1", "must be a string, not a number"],
  ["PostStartupCommand", '["a secret"]', "must be a string, not an array"],
  ["SubnetAddCommand", '" \\t"', "must name a program"],
  ["SubnetRemoveCommand", '"secret\\u0000b"', "must not contain the character U+0000"],
  ["ShutdownCommand", '{"secret":1}', "must be a string, not an object"],
  ["Shell", '"yes"', "must be true or false, not a string"],
  ["TimeLimit", "0", "must be from 1 to 3600"],
  ["TimeLimit", "1.5", "must be a whole number"],
  ["TimeLimit", '"60"', "must be an integer, not a string"],
  ["MTU", "67", "must be 0 or at least 68"],
  ["MTU", "65536", "must be from 0 to 65535"],
])("%s %s is refused", (key, value, message) => {
  const create = () => backendOf(ipv4Only, `,"${key}":${value}`);
  expect(create).toThrow(message);
  expect(create).toThrow(`Backend.${key} `);
  expect(create).not.toThrow("secret");
});

test("a command has a bounded length", () => {
  const keys = `,"ShutdownCommand":"${"x".repeat(40_000)}"`;
  expect(() => backendOf(ipv4Only, keys)).toThrow("40000 characters must have at most 32768");
});
