import { describe, expect, test } from "vitest";
import { compareNetworkConfig } from "./compare-network-config.ts";
import { parseNetworkConfig } from "./parse-network-config.ts";

const parse = (keys: string) =>
  parseNetworkConfig(`{"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}, ${keys}}`, () => []);

describe("RoutingTable and RoutingRules", () => {
  test("are read whatever the case of their keys, with the host bits of a prefix cleared", () => {
    const { config, warnings } = parse(
      `"routingtable": 100, "RoutingRules": [{"incomingDevice": "br-red"}, {"From": "10.5.3.1/16", "Mark": 16, "Mask": 255}]`,
    );
    expect(warnings).toEqual([]);
    expect(config.routing).toEqual({
      table: 100,
      rules: [{ incomingDevice: "br-red" }, { from: "10.5.0.0/16", mark: 16, mask: 255 }],
    });
  });

  test("are off when they are missing or null", () => {
    expect(parse(`"SubnetLen": 24`).config.routing).toBeUndefined();
    expect(parse(`"RoutingTable": null, "RoutingRules": null`).config.routing).toBeUndefined();
  });

  test("need a restart when they change", () => {
    const [before, after] = [parse(`"RoutingTable": 100`).config, parse(`"RoutingTable": 101`).config];
    expect(compareNetworkConfig(before, after, []).restart).toEqual(["RoutingTable or RoutingRules"]);
    expect(compareNetworkConfig(before, before, []).restart).toEqual([]);
  });

  test.each([
    [`"RoutingTable": "100"`, /RoutingTable.*must be the number/],
    [`"RoutingTable": 0`, /must be the number/],
    [`"RoutingTable": 254`, /must be the number of a routing table of its own/],
    [`"RoutingTable": 253`, /must be the number of a routing table of its own/],
    [`"RoutingTable": 255`, /must be the number of a routing table of its own/],
    [`"RoutingTable": 2410`, /must be the number of a routing table of its own/],
    [`"RoutingTable": 1.5`, /must be the number/],
    [`"RoutingTable": 1e2`, /must be the number/],
    [`"RoutingTable": -1`, /must be the number/],
    [`"RoutingTable": 4294967296`, /must be the number/],
    [`"RoutingRules": [{"Mark": 1}]`, /RoutingRules.*need a RoutingTable/],
    [`"RoutingTable": 100, "RoutingRules": {}`, /must be a list/],
    [`"RoutingTable": 100, "RoutingRules": ["br-red"]`, /RoutingRules\[0\].*must be an object/],
    [`"RoutingTable": 100, "RoutingRules": [{}]`, /RoutingRules\[0\].*selects nothing/],
    [`"RoutingTable": 100, "RoutingRules": [{"Mask": 1}]`, /Mask.*needs a Mark/],
    [`"RoutingTable": 100, "RoutingRules": [{"Mark": 0}]`, /Mark.*from 1 to/],
    [`"RoutingTable": 100, "RoutingRules": [{"Mark": "1"}]`, /Mark.*from 1 to/],
    [`"RoutingTable": 100, "RoutingRules": [{"IncomingDevice": "a b"}]`, /IncomingDevice.*name of a network device/],
    [`"RoutingTable": 100, "RoutingRules": [{"IncomingDevice": "sixteen-letters-"}]`, /at most 15 characters/],
    [`"RoutingTable": 100, "RoutingRules": [{"IncomingDevice": "../x"}]`, /name of a network device/],
    [`"RoutingTable": 100, "RoutingRules": [{"From": "10.5.0.0"}]`, /From.*must be a prefix/],
    [`"RoutingTable": 100, "RoutingRules": [{"From": "fd00::/64"}]`, /From.*address family/],
    [`"RoutingTable": 100, "RoutingRules": [{"Iif": "br-red"}]`, /is not a key of a rule/],
    [`"RoutingTable": 100, "RoutingRules": [${'{"Mark": 1},'.repeat(100)} {"Mark": 1}]`, /at most 100/],
  ])("%s is refused", (keys, message) => {
    expect(() => parse(keys)).toThrow(message);
  });
});
