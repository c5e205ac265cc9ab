// The meaning of the rules, judged packet by packet by a small interpreter, against what flannel's rules promise.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { type Address, parseAddress, parsePrefix } from "../ip/address.ts";
import { containsAddress } from "../ip/prefix.ts";
import { planRules, type RuleInputs } from "./plan-rules.ts";
import type { FamilyRules, PrefixMatch, Rule } from "./rule-set.ts";

const network = parsePrefix("10.5.0.0/16");
const subnet = parsePrefix("10.5.34.0/24");
const inputs: RuleInputs = {
  families: [{ network, subnet }],
  masquerade: true,
  randomFully: true,
  forward: true,
  excludedPrefixes: [parsePrefix("172.16.0.0/12")],
  nodes: ["192.168.50.12", "fd00:50::12", "192.168.50.11", "192.168.50.12"].map(parseAddress),
};

interface Packet {
  readonly source: Address;
  readonly destination: Address;
  readonly mark: number;
}

/** What becomes of a packet: the first rule that matches says; at the end nothing happens to it. */
function judge(rules: readonly Rule[], packet: Packet, nodes: readonly Address[]): string {
  const isMatch = (match: PrefixMatch | "nodes" | undefined, address: Address): boolean => {
    if (match === undefined) return true;
    if (match === "nodes") return nodes.includes(address);
    return containsAddress(match.prefix, address) !== match.isNegated;
  };
  for (const rule of rules) {
    if (rule.mark !== undefined && (packet.mark & rule.mark) !== rule.mark) continue;
    if (isMatch(rule.source, packet.source) && isMatch(rule.destination, packet.destination)) return rule.verdict;
  }
  return "return";
}

function planned(change: Partial<RuleInputs> = {}): FamilyRules {
  const [rules] = planRules({ ...inputs, ...change }, true);
  if (rules === undefined) throw new Error("no rules");
  return rules;
}

function verdict(source: string, destination: string, mark = 0): string {
  const { masquerade = [], nodes = [] } = planned();
  return judge(masquerade, { source: parseAddress(source), destination: parseAddress(destination), mark }, nodes);
}

describe("masquerading", () => {
  test.each([
    ["10.5.34.7", "8.8.8.8", "masquerade-random", "container to the world"],
    ["10.5.34.7", "10.5.99.7", "return", "container to a container elsewhere"],
    ["10.5.99.7", "10.5.34.7", "return", "container elsewhere to one here"],
    ["192.168.50.11", "10.5.34.7", "return", "host to its own container"],
    ["192.168.50.11", "10.5.99.7", "masquerade-random", "host to a container elsewhere"],
    ["10.5.34.7", "224.0.0.251", "return", "multicast"],
    ["10.5.34.7", "172.20.1.1", "return", "excluded prefix"],
    ["10.5.34.7", "192.168.50.12", "return", "another node"],
    ["192.168.50.11", "8.8.8.8", "return", "the host's own traffic"],
  ])("%s to %s: %s (%s)", (source, destination, expected) => {
    expect(verdict(source, destination)).toBe(expected);
  });

  test("kube-proxy's mark is left to it whatever other bits are set, other marks mean nothing", () => {
    expect(verdict("10.5.34.7", "8.8.8.8", 0x4000)).toBe("return");
    expect(verdict("10.5.34.7", "8.8.8.8", 0x14001)).toBe("return");
    expect(verdict("10.5.34.7", "8.8.8.8", 0x8001)).toBe("masquerade-random");
  });

  test("random ports only where asked for and possible", () => {
    expect(planRules(inputs, false)[0]?.masquerade?.at(-1)?.verdict).toBe("masquerade");
    expect(planned({ randomFully: false }).masquerade?.at(-1)?.verdict).toBe("masquerade");
  });

  test("no packet between this host's containers and the network is ever masqueraded, either way", () => {
    const byte = fc.nat(255);
    const elsewhere = fc.tuple(byte, byte).map(([a, b]) => parseAddress(`10.5.${a}.${b}`));
    const here = byte.map((last) => parseAddress(`10.5.34.${last}`));
    const { masquerade = [], nodes = [] } = planned();
    fc.assert(
      fc.property(here, elsewhere, fc.nat(0xffff), (own, other, mark) => {
        expect(judge(masquerade, { source: own, destination: other, mark }, nodes)).toBe("return");
        expect(judge(masquerade, { source: other, destination: own, mark }, nodes)).toBe("return");
      }),
      propertyRuns(1_000),
    );
  });
});

test("nodes are unique, sorted, and of the family; without the word there is no set", () => {
  expect(planned().nodes).toEqual(["192.168.50.11", "192.168.50.12"]);
  const { nodes: _, ...withoutNodes } = inputs;
  expect(planRules(withoutNodes, true)[0]?.nodes).toBeUndefined();
});

test("chains nobody asked for are missing, and families without a lease", () => {
  expect(planned({ masquerade: false })).not.toHaveProperty("masquerade");
  expect(planned({ masquerade: false })).not.toHaveProperty("nodes");
  expect(planned({ forward: false })).not.toHaveProperty("forward");
  expect(planRules({ ...inputs, families: [] }, true)).toEqual([]);
});
