import { expect, it } from "vitest";
import { backends } from "../../backend/registry.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import { checkContext } from "./check-context.ts";

it("takes earlier subnets for this host's own until the store has told", () => {
  const { config } = backends.parseConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}');
  const backend = backends.create(config);
  const eth0 = { name: "eth0", index: 2, isUp: true, mtuBytes: 1500, address: parseAddress("192.0.2.1") };
  const known = {
    networks: [parsePrefix("10.5.0.0/16")],
    selection: { families: new Set([4] as const), interfaces: [], interfaceRegexes: [] },
    earlierSubnets: [parsePrefix("10.5.7.0/24")],
    facts: { externalInterface: eth0, identity: undefined, directPeers: new Set<never>(), occupied: [] },
    backend,
    plan: { state: {}, plannedPeers: 0, skipped: [] },
  };
  expect(checkContext({ ...known, own: undefined }).ownSubnets).toEqual(["10.5.7.0/24"]);
  expect(checkContext({ ...known, own: { subnet: parsePrefix("10.5.9.0/24") } }).ownSubnets).toEqual(["10.5.9.0/24"]);
});
