// The keys of the backends of cloud providers: what is taken, and what is neither taken nor refused.
import { describe, expect, test } from "vitest";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import type { HostFacts } from "./backend.ts";
import type { CloudPlan } from "./cloud-backend.ts";
import { backends } from "./registry.ts";

const facts: HostFacts = {
  externalInterface: {
    ...{ index: 2, name: "eth0", mtuBytes: 1_500, isUp: true, address: parseAddress("192.168.50.11") },
    publicIp: parseAddress("192.168.50.11"),
  },
  ...{ identity: undefined, directPeers: new Set(), occupied: [] },
};

function read(Type: string, keys: object, network: object = {}) {
  const written = JSON.stringify({ Network: "10.5.0.0/16", ...network, Backend: { Type, ...keys } });
  const { config, warnings } = backends.parseConfig(written);
  const { runtime } = backends.create(config).plan({ subnet: parsePrefix("10.5.3.0/24") }, [], facts);
  return { access: (runtime as CloudPlan).access, warnings: warnings.map(({ message }) => message) };
}

describe.each([
  ["aws-vpc", "rtb-0123456789abcdef0", "rtb-0123456789abcdef1"],
  ["ali-vpc", "vtb-bp145q7glnuzd0123456", "vtb-bp145q7glnuzd0123457"],
  ["tencent-vpc", "rtb-0123abcd", "rtb-0123abce"],
])("RouteTableID of %s", (type, one, other) => {
  test.each<[unknown, readonly string[]]>([
    [one, [one]],
    [
      [one, other],
      [one, other],
    ],
    [
      [other, one, other, ""],
      [other, one],
    ],
    ["", []],
    [[], []],
    [null, []],
  ])("%j", (RouteTableID, tables) => {
    expect(read(type, { RouteTableID })).toEqual({ access: { tables }, warnings: [] });
  });
});

describe.each(["ali-vpc", "tencent-vpc"])("the access key of %s", (type) => {
  test("is taken when both halves are there; half of one counts as none, as in upstream", () => {
    expect(read(type, { AccessKeyID: "id", AccessKeySecret: "secret" }).access.key).toEqual({
      id: "id",
      secret: "secret",
    });
    for (const keys of [
      { AccessKeyID: "id" },
      { AccessKeySecret: "secret" },
      { AccessKeyID: "id", AccessKeySecret: "" },
    ]) {
      expect(read(type, keys)).toEqual({ access: { tables: [] }, warnings: [] });
    }
  });
});

describe.each(["aws-vpc", "gce", "ali-vpc", "tencent-vpc"])("%s", (type) => {
  test("names a key that it does not know, and goes on without", () => {
    const [warning, ...others] = read(type, { RouteTable: "x" }).warnings;
    expect(others).toEqual([]);
    expect(warning).toMatch(/RouteTable.* is not a key of Backend/);
  });

  test("refuses IPv6, also beside IPv4", () => {
    const rule = `with the backend ${type}, which has routes for IPv4 only`;
    const ipv6 = { EnableIPv6: true, IPv6Network: "fd00:5::/56" };
    expect(() => read(type, {}, ipv6)).toThrow(`network config: EnableIPv6 true must be false ${rule}`);
    expect(() => read(type, {}, { ...ipv6, EnableIPv4: false })).toThrow(
      `network config: EnableIPv4 false must be true ${rule}`,
    );
  });
});
