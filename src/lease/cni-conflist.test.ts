import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { parseConfig } from "../backend/registry.ts";
import { hasCode } from "../errors.ts";
import { parsePrefix } from "../ip/address.ts";
import { bridgesOf, defaultCniTemplate, renderCniConflist } from "./cni-conflist.ts";
import type { SubnetEnvContent } from "./subnet-env.ts";

const ipv6 = '"EnableIPv6":true,"IPv6Network":"fc00::/48"';

function contentOf(fields: string): SubnetEnvContent {
  const { config } = parseConfig(`{${fields},"Backend":{"Type":"vxlan"}}`);
  const subnets = { subnet: parsePrefix("10.1.17.0/24"), ipv6Subnet: parsePrefix("fc00::/64") };
  return { config, subnets, mtuBytes: 1472, ipMasq: true };
}

function render(template: object | string, fields = '"Network":"10.1.0.0/16"') {
  const text = typeof template === "string" ? template : JSON.stringify(template);
  return JSON.parse(renderCniConflist(text, contentOf(fields))) as { plugins: readonly object[] };
}

describe("renderCniConflist", () => {
  it("gives the bridge what flannel's plugin would give it", () => {
    expect(render(defaultCniTemplate)).toEqual({
      name: "cbr0",
      cniVersion: "0.3.1",
      plugins: [
        {
          type: "bridge",
          hairpinMode: true,
          isDefaultGateway: true,
          isGateway: true,
          ipMasq: false,
          mtu: 1472,
          ipam: { type: "host-local", ranges: [[{ subnet: "10.1.17.0/24" }]], routes: [{ dst: "10.1.0.0/16" }] },
        },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    });
  });

  it("knows both families", () => {
    const { plugins } = render(defaultCniTemplate, `"Network":"10.1.0.0/16",${ipv6}`);
    expect(plugins[0]).toMatchObject({
      ipam: {
        ranges: [[{ subnet: "10.1.17.0/24" }], [{ subnet: "fc00::/64" }]],
        routes: [{ dst: "10.1.0.0/16" }, { dst: "fc00::/48" }],
      },
    });
  });

  it("says by the route where IPv6 has less room, and never more than the interface has", () => {
    const content = { ...contentOf(`"Network":"10.1.0.0/16",${ipv6}`), ipv6MtuBytes: 1452 };
    const routesOf = (template: string) => {
      const { plugins } = JSON.parse(renderCniConflist(template, content));
      return plugins[0].ipam.routes;
    };
    expect(routesOf(defaultCniTemplate)).toEqual([{ dst: "10.1.0.0/16" }, { dst: "fc00::/48", mtu: 1452 }]);
    const small = JSON.stringify({ name: "n", plugins: [{ type: "flannel", delegate: { mtu: 1300 } }] });
    expect(routesOf(small)).toEqual([{ dst: "10.1.0.0/16" }, { dst: "fc00::/48" }]);
  });

  it("leaves the administrator's choices alone, but for the ranges", () => {
    const flannel = {
      type: "flannel",
      delegate: { type: "ptp", mtu: 1300, ipMasq: true },
      ipam: { ranges: [[{ subnet: "1.2.3.0/24" }]], routes: [{ dst: "192.0.2.0/24", gw: "10.1.17.1" }], dataDir: "/d" },
    };
    const others = [{ type: "bandwidth", capabilities: { bandwidth: true } }];
    const rendered = render({ name: "n", cniVersion: "1.0.0", disableCheck: true, plugins: [flannel, ...others] });
    expect(rendered).toMatchObject({ name: "n", cniVersion: "1.0.0", disableCheck: true });
    expect(rendered.plugins[1]).toEqual(others[0]);
    expect(rendered.plugins[0]).toEqual({
      type: "ptp",
      mtu: 1300,
      ipMasq: true,
      ipam: {
        type: "host-local",
        dataDir: "/d",
        ranges: [[{ subnet: "10.1.17.0/24" }]],
        routes: [{ dst: "192.0.2.0/24", gw: "10.1.17.1" }, { dst: "10.1.0.0/16" }],
      },
    });
  });

  it("makes a list of a configuration with one plugin", () => {
    const rendered = render({ name: "cbr0", type: "flannel", delegate: { isDefaultGateway: true } });
    expect(rendered).toMatchObject({ name: "cbr0", plugins: [{ type: "bridge", isDefaultGateway: true }] });
  });

  it.each([
    ["", "it is not JSON"],
    ["[]", "it is not a JSON object"],
    ['{"plugins":[{"type":"flannel"}]}', "it has no name"],
    ['{"name":"n","plugins":[]}', "plugins is not a list of plugins"],
    ['{"name":"n","plugins":[{}]}', "a plugin has no type"],
    ['{"name":"n"}', "a plugin has no type"],
    ['{"name":"n","plugins":[{"type":"flannel","delegate":{"ipam":{}}}]}', "must not have ipam"],
    ['{"name":"n","plugins":[{"type":"flannel","delegate":[]}]}', "the delegate of plugin flannel is not an object"],
  ])("refuses %j", (template, message) => {
    expect(() => render(template)).toThrow(message);
  });

  it("never fails with anything but the reason", () => {
    const plugin = fc.record({
      type: fc.constantFrom("flannel", "x", 1),
      delegate: fc.jsonValue(),
      ipam: fc.jsonValue(),
    });
    const list = fc.record({ name: fc.string(), plugins: fc.oneof(fc.array(plugin), fc.jsonValue()) });
    const anyTemplate = fc.oneof(
      fc.json(),
      list.map((value) => JSON.stringify(value)),
      fc.string(),
    );
    const property = fc.property(anyTemplate, (template) => {
      expect(bridgesOf(template).every((name) => typeof name === "string")).toBe(true);
      try {
        renderCniConflist(template, contentOf('"Network":"10.1.0.0/16"'));
      } catch (error) {
        if (!hasCode(error, "CONFIG_INVALID")) throw error;
      }
    });
    fc.assert(property, propertyRuns(100_000));
  });
});
