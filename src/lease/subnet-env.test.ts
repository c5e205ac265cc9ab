import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { parseConfig } from "../backend/registry.ts";
import { parsePrefix } from "../ip/address.ts";
import { parseSubnetEnv, renderSubnetEnv } from "./subnet-env.ts";

const vxlan = '"Backend":{"Type":"vxlan"}';
const own = { subnet: parsePrefix("10.42.7.0/24"), ipv6Subnet: parsePrefix("2001:cafe:42:7::/64") };

function render(fields: string, ipMasq: boolean): string[] {
  const { config } = parseConfig(`{${fields},${vxlan}}`);
  return renderSubnetEnv({ config, subnets: own, mtuBytes: 1450, ipMasq }).split("\n");
}

describe("renderSubnetEnv", () => {
  const ipv6 = '"EnableIPv6":true,"IPv6Network":"2001:cafe:42::/56"';

  it("writes flannel's lines for IPv4", () => {
    expect(render('"Network":"10.42.9.9/16"', false)).toEqual([
      "FLANNEL_NETWORK=10.42.0.0/16",
      "FLANNEL_SUBNET=10.42.7.1/24",
      "FLANNEL_MTU=1450",
      "FLANNEL_IPMASQ=false",
      "",
    ]);
  });

  it("writes flannel's lines for dual-stack", () => {
    expect(render(`"Network":"10.42.0.0/16",${ipv6}`, true)).toEqual([
      "FLANNEL_NETWORK=10.42.0.0/16",
      "FLANNEL_SUBNET=10.42.7.1/24",
      "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56",
      "FLANNEL_IPV6_SUBNET=2001:cafe:42:7::1/64",
      "FLANNEL_MTU=1450",
      "FLANNEL_IPMASQ=true",
      "",
    ]);
  });

  it("writes flannel's lines for IPv6 alone", () => {
    expect(render(`"EnableIPv4":false,${ipv6}`, true)).toEqual([
      "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56",
      "FLANNEL_IPV6_SUBNET=2001:cafe:42:7::1/64",
      "FLANNEL_MTU=1450",
      "FLANNEL_IPMASQ=true",
      "",
    ]);
  });
});

describe("parseSubnetEnv", () => {
  it.each([
    ["FLANNEL_SUBNET=10.5.72.1/24", "10.5.72.0/24"],
    ["# a comment\nexport FLANNEL_SUBNET='10.5.72.1/24' # ours", "10.5.72.0/24"],
    ['FLANNEL_SUBNET: "10.5.72.1/24"\r\nX=1', "10.5.72.0/24"],
    ["BASE=10.5.72\nFLANNEL_SUBNET=$\u007bBASE}.1/24", "10.5.72.0/24"],
    ["FLANNEL_SUBNET=nonsense,10.5.72.1/24", "10.5.72.0/24"],
    ["FLANNEL_SUBNET=10.1.0.0/24\nFLANNEL_SUBNET=10.5.72.1/24", "10.5.72.0/24"],
    ["FLANNEL_SUBNET=10.5.72.1/24,10.5.73.1/24", undefined],
    ["FLANNEL_SUBNET=10.5.72.1", undefined],
    ["FLANNEL_SUBNET=fd00::1/64", undefined],
    ["FLANNEL_SUBNET=", undefined],
    ["", undefined],
  ])("reads %j", (text, subnet) => {
    expect(parseSubnetEnv(text).subnets).toEqual(subnet === undefined ? {} : { subnet });
  });

  it("names what it ignores", () => {
    const { subnets, warnings } = parseSubnetEnv(
      "FLANNEL_SUBNET=a/b,10.5.72.1/24\nFLANNEL_IPV6_SUBNET=10.5.72.1/24,fd00::1/64,fd00:1::1/64\n",
    );
    expect(subnets).toEqual({ subnet: "10.5.72.0/24" });
    expect(warnings).toEqual([
      'FLANNEL_SUBNET: "a/b" is not an IPv4 subnet: ignoring it',
      'FLANNEL_IPV6_SUBNET: "10.5.72.1/24" is not an IPv6 subnet: ignoring it',
      "FLANNEL_IPV6_SUBNET has 2 subnets: ignoring it, because a host has one",
    ]);
  });

  it("reads back what it rendered", () => {
    const { config } = parseConfig(
      `{"Network":"10.42.0.0/16","EnableIPv6":true,"IPv6Network":"2001:cafe:42::/56",${vxlan}}`,
    );
    const text = renderSubnetEnv({ config, subnets: own, mtuBytes: 1450, ipMasq: false });
    expect(parseSubnetEnv(text)).toEqual({ subnets: own, warnings: [] });
  });

  it("never throws nor hangs, for random texts", () => {
    const part = fc.oneof(
      fc.constantFrom(
        "FLANNEL_SUBNET",
        "FLANNEL_IPV6_SUBNET",
        "export ",
        "=",
        ":",
        "\n",
        '"',
        "'",
        "\\",
        "$A",
        "$\u007bA}",
        "#",
        ",",
        " ",
      ),
      fc.ipV4().map((address) => `${address}/24`),
      fc.ipV6().map((address) => `${address}/64`),
      fc.string(),
    );
    const document = fc.array(part, { maxLength: 12 }).map((parts) => parts.join(""));
    const check = (text: string): void => {
      const { subnets } = parseSubnetEnv(text);
      for (const subnet of Object.values(subnets)) parsePrefix(String(subnet));
    };
    fc.assert(fc.property(document, check), propertyRuns(100_000));
    const started = performance.now();
    parseSubnetEnv(Array.from({ length: 60 }, (_, i) => `A${i}=$A${i - 1}$A${i - 1}xx`).join("\n"));
    parseSubnetEnv(`${" ".repeat(30_000)}=${"\\".repeat(30_000)}`);
    expect(performance.now() - started).toBeLessThan(20_000);
  });
});
