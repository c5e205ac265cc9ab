// Policy rules as programs really write them, and what of them takes packets between containers away.
import { describe, expect, test } from "vitest";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import type { RuleMessage } from "../netlink/rtnetlink/messages.ts";
import { ruleText } from "../netlink/rtnetlink/rule.ts";
import { divertingRules, type TableRoute } from "./policy-rules.ts";

const network = parsePrefix("10.5.0.0/16");
const traffic = {
  networks: [network],
  ownSubnets: [parsePrefix("10.5.1.0/24")],
  devices: new Set(["flannel.1", "cni0"]),
};
const [LOOKUP, GOTO, UNREACHABLE, PROHIBIT] = [1, 2, 7, 8];
const local = rule(0, { table: 255, protocol: 2 });
const main = rule(32_766, { table: 254, protocol: 2 });
const system = [main, rule(32_767, { table: 253, protocol: 2 })];

function rule(priority: number, parts: Partial<RuleMessage>): RuleMessage {
  return {
    ...{ family: 4, priority, action: LOOKUP, table: 0, protocol: 0 },
    ...{ isInverted: false, isL3mdev: false, hasOtherSelectors: false },
    ...parts,
  };
}

function route(destination: string, parts: Partial<TableRoute> = {}): TableRoute {
  return { destination: parsePrefix(destination), type: 1, device: "eth1", isInMain: false, ...parts };
}

/** Texts of the rules that lead away, with the routes they find. */
function diverting(
  rules: readonly RuleMessage[],
  tables: Readonly<Record<number, readonly TableRoute[]>> = {},
): string[] {
  const byNumber = new Map(Object.entries(tables).map(([table, routes]) => [Number(table), routes]));
  const sorted = [local, ...rules, ...system].sort((a, b) => a.priority - b.priority);
  return divertingRules({ rules: sorted, tables: byNumber }, traffic).map(
    ({ rule: found, route: way }) => `${ruleText(found)}${way === undefined ? "" : ` -> ${way.destination}`}`,
  );
}

describe("lead away", () => {
  const everything = { 200: [route("0.0.0.0/0", { gateway: parseAddress("192.168.60.1") })] };

  test.each([
    ["all packets", {}, "100: from all lookup 200"],
    ["by source", { from: network }, "100: from 10.5.0.0/16 lookup 200"],
    ["by a part of the destinations", { to: parsePrefix("10.5.7.0/24") }, "100: from all to 10.5.7.0/24 lookup 200"],
    ["without a mark", { fwmark: 0, fwmask: 0xff }, "100: from all fwmark 0/0xff lookup 200"],
    ["all but those with a mark", { fwmark: 7, isInverted: true }, "100: not from all fwmark 0x7 lookup 200"],
    ["what comes from the bridge", { incomingDevice: "cni0" }, "100: from all iif cni0 lookup 200"],
    ["what the host sends", { incomingDevice: "lo" }, "100: from all iif lo lookup 200"],
  ])("%s", (_, parts, text) => {
    expect(diverting([rule(100, { table: 200, ...parts })], everything)).toEqual([`${text} -> 0.0.0.0/0`]);
  });

  test("routes for a part of the network, and to nowhere", () => {
    expect(diverting([rule(100, { table: 200 })], { 200: [route("10.5.7.0/24")] })).toHaveLength(1);
    expect(diverting([rule(100, { table: 200 })], { 200: [route("10.0.0.0/8", { type: 6 })] })).toHaveLength(1);
  });

  test("rules that drop", () => {
    expect(diverting([rule(100, { action: PROHIBIT }), rule(101, { action: UNREACHABLE })])).toEqual([
      "100: from all prohibit", // nothing reaches the second
    ]);
  });

  test("a part of the packets, then all others", () => {
    const rules = [rule(100, { table: 200, to: parsePrefix("10.5.7.0/24") }), rule(101, { table: 200 })];
    expect(diverting(rules, everything)).toHaveLength(2);
  });

  test("wg-quick's look-up of main hides only the default route, not one as short as the network", () => {
    const rules = [rule(99, { table: 254, suppressPrefixLength: 16 }), rule(100, { table: 200 })];
    expect(diverting(rules, everything)).toHaveLength(1);
  });
});

describe("do no harm", () => {
  test("Tailscale: marks, and a table without a route to the network", () => {
    const mark = { fwmark: 0x8_0000, fwmask: 0xff_0000 };
    const rules = [
      rule(5_210, { ...mark, table: 254 }),
      rule(5_230, { ...mark, table: 253 }),
      rule(5_250, { ...mark, action: UNREACHABLE }),
      rule(5_270, { table: 52 }),
    ];
    expect(diverting(rules, { 52: [route("100.100.100.100/32")] })).toEqual([]);
    // An exit node takes everything, except what it throws back.
    expect(diverting(rules, { 52: [route("0.0.0.0/0")] })).toEqual(["5270: from all lookup 52 -> 0.0.0.0/0"]);
    expect(diverting(rules, { 52: [route("0.0.0.0/0"), route("10.0.0.0/8", { type: 9 })] })).toEqual([]);
  });

  test("wg-quick: main is asked first, without its default route", () => {
    const rules = [
      rule(32_764, { table: 254, suppressPrefixLength: 0 }),
      rule(32_765, { table: 51_820, fwmark: 0xca6c, isInverted: true }),
    ];
    expect(diverting(rules, { 51820: [route("0.0.0.0/0", { device: "wg0" })] })).toEqual([]);
  });

  const everything = { 200: [route("0.0.0.0/0")] };
  test.each([
    ["the host's other address", { from: parsePrefix("192.168.60.5/32") }],
    ["other destinations", { to: parsePrefix("10.6.0.0/16") }],
    ["a mark", { fwmark: 1 }],
    ["another interface", { incomingDevice: "eth1" }],
    ["bound sockets", { outgoingDevice: "eth1" }],
    ["a user or port", { hasOtherSelectors: true }],
    ["VRFs", { isL3mdev: true }],
    ["all but the network", { to: network, isInverted: true }],
    ["IPv6", { family: 6 as const }],
    ["flannel itself", { protocol: 0xf1 }],
    ["a default route that does not count", { suppressPrefixLength: 0 }],
  ])("%s", (_, parts) => {
    expect(diverting([rule(100, { table: 200, ...parts })], everything)).toEqual([]);
  });

  test("an exception before the rule, as the cure makes it, or a jump over it", () => {
    const leading = rule(100, { table: 200 });
    expect(diverting([rule(99, { table: 254, to: network }), leading], everything)).toEqual([]);
    expect(diverting([rule(99, { action: GOTO, gotoPriority: 32_766, to: network }), leading], everything)).toEqual([]);
    expect(diverting([rule(99, { table: 254, to: parsePrefix("10.5.1.0/24") }), leading], everything)).toHaveLength(1);
  });

  test("routes that main has too, those out of our devices, those of our own subnet", () => {
    const routes = [
      route("10.5.7.0/24", { isInMain: true }),
      route("10.5.0.0/16", { device: "flannel.1" }),
      route("10.5.1.0/25", { device: "veth5" }),
    ];
    expect(diverting([rule(100, { table: 200 })], { 200: routes })).toEqual([]);
  });

  test("what stands behind the main table", () => {
    expect(diverting([rule(40_000, { table: 200 })], everything)).toEqual([]);
  });
});
