import { describe, expect, it } from "vitest";
import type { WayReport } from "../../doctor/way-report.ts";
import {
  combinedReasons,
  reason,
  type ScopedFailure,
  STORE_SEEN_BOUND_MS,
  type StateFacts,
  stateOf,
  stateReasons,
} from "./agent-state.ts";
import { type AgentState, reasonDefinitions } from "./state-reasons.ts";

const ready: StateFacts = {
  hasLease: true,
  isLeaseRetaken: false,
  isWarmStart: false,
  storeAgeMs: 1_000,
  forwardingOff: [],
  isSubnetFileWritten: true,
  peersProgrammed: { areNow: true, wereOnce: true },
  hostFailures: [],
  ruleFailures: [],
  plannedPeers: 2,
  programmedPeers: 2,
  skippedPeers: 0,
  unreadableKeys: 0,
  forwardDrops: [],
};

function failure(scope: ScopedFailure["scope"]): ScopedFailure {
  return { object: "10.5.7.0/24 via 192.0.2.7 dev eth0", error: "ENETUNREACH", attempts: 3, scope };
}

function ways(unreachable: number, partly: number, checked: number, unreachableHosts = 0): WayReport {
  const finding = { name: "peer-unreachable", severity: "error", evidence: "by eth1", remedy: "ip route get" } as const;
  return { checked, unreachable, partly, unreachableHosts, findings: [finding] };
}

const words = "10.5.7.0/24 via 192.0.2.7 dev eth0: ENETUNREACH";

describe("stateReasons", () => {
  it("is empty when pods can talk", () => {
    expect(stateReasons(ready)).toEqual([]);
    expect(stateOf([])).toBe("ready");
  });

  it.each<[Partial<StateFacts>, AgentState, string, string]>([
    [{ hasLease: false }, "notReady", "no-lease", "no lease yet"],
    [{ hasLease: false, leaseObstacle: "no free subnet" }, "notReady", "no-lease", "no lease yet: no free subnet"],
    [{ leaseProblem: "the lease has expired" }, "notReady", "lease-invalid", "the lease has expired"],
    [{ leaseProblem: "deleted", isLeaseRetaken: true }, "notReady", "lease-retaken", "deleted"],
    [{ isWarmStart: true }, "notReady", "lease-unconfirmed", "using remembered state: the store has not answered yet"],
    [{ isSubnetFileWritten: false }, "notReady", "subnet-file-missing", "the subnet file is not written yet"],
    [{ externalInterfaceProblem: "eth0 is down" }, "notReady", "interface-unusable", "eth0 is down"],
    [{ ipv6Problem: "no address" }, "degraded", "family-missing", "IPv4 alone is served: no address"],
    [{ forwardingOff: ["IPv4 forwarding is off"] }, "notReady", "forwarding-off", "IPv4 forwarding is off"],
    [{ dataPlaneProblem: "IPv6 is lost" }, "notReady", "data-plane-failed", "packets are not carried: IPv6 is lost"],
    [
      { hostFailures: [failure("own"), failure("own")] },
      "notReady",
      "own-object-failed",
      `the host's own kernel objects could not be programmed: ${words} and 1 more`,
    ],
    [{ ruleFailures: [failure("own")] }, "notReady", "rules-missing", `traffic rules could not be written: ${words}`],
    [
      { peersProgrammed: { areNow: false, wereOnce: false } },
      "notReady",
      "peers-unknown",
      "the peers are not programmed yet",
    ],
    [
      { peersProgrammed: { areNow: false, wereOnce: true } },
      "degraded",
      "peers-pending",
      "the peers are not programmed yet",
    ],
    [
      { hostFailures: [failure("peer")], programmedPeers: 1 },
      "degraded",
      "peer-failed",
      `1 of 2 peers unreachable: ${words}`,
    ],
    [
      { hostFailures: [failure("peer")], programmedPeers: 0 },
      "notReady",
      "no-peer-reached",
      `none of 2 peers could be programmed: ${words}`,
    ],
    // Of two hosts, the one that is off the link must not take the other one out of service.
    [
      { hostFailures: [failure("peer")], plannedPeers: 1, programmedPeers: 0 },
      "degraded",
      "peer-failed",
      `1 of 1 peer unreachable: ${words}`,
    ],
    [{ ways: ways(1, 0, 2) }, "degraded", "peer-unreachable", "1 of 2 peers unreachable: by eth1"],
    [{ ways: ways(0, 1, 2) }, "degraded", "peer-unreachable", "1 of 2 peers partly unreachable: by eth1"],
    [{ ways: ways(1, 0, 1) }, "notReady", "all-peers-unreachable", "1 of 1 peer unreachable: by eth1"],
    [{ ways: ways(2, 0, 2, 2) }, "notReady", "all-peers-unreachable", "2 of 2 peers unreachable: by eth1"],
    // The host of the only peer is off the network: that is not this host's fault.
    [{ ways: ways(1, 0, 1, 1) }, "degraded", "peer-unreachable", "1 of 1 peer unreachable: by eth1"],
    // What keeps all packets from flowing explains the rest.
    [{ ways: ways(2, 0, 2), forwardingOff: ["off"] }, "notReady", "forwarding-off", "off"],
    [{ skippedPeers: 2 }, "degraded", "peer-skipped", "2 peers cannot be used"],
    [{ unreadableKeys: 1 }, "degraded", "lease-unreadable", "1 key in the store is not a lease"],
    [
      { hostFailures: [failure("precaution"), { ...failure("precaution"), isSetting: true }] },
      "degraded",
      "precaution-failed",
      `a precaution could not be set: ${words}`,
    ],
    [
      { ruleFailures: [failure("leftover")] },
      "degraded",
      "leftover",
      `leftovers of an earlier configuration could not be removed: ${words}`,
    ],
    [{ forwardDrops: ["nft chain inet x drops"] }, "degraded", "forward-policy", "nft chain inet x drops"],
    [{ storeAgeMs: STORE_SEEN_BOUND_MS + 1 }, "degraded", "store-silent", "the store has not answered for 300 s"],
  ])("of %j is %s by %s", (change, state, name, message) => {
    const reasons = stateReasons({ ...ready, ...change });
    expect(reasons).toEqual([{ name, state, message }]);
    expect(stateOf(reasons)).toBe(state);
  });

  it("names the worst first", () => {
    const reasons = stateReasons({ ...ready, skippedPeers: 1, forwardingOff: ["off"], forwardDrops: ["drop"] });
    expect(reasons.map(({ name }) => name)).toEqual(["forwarding-off", "forward-policy", "peer-skipped"]);
    expect(stateOf(reasons)).toBe("notReady");
  });
});

describe("of several networks", () => {
  const starting = { name: "broken", state: "notReady", reasons: [reason("no-lease", "no lease yet")] } as const;
  const blip = [reason("forwarding-off", "off")];

  it("the agent is not ready when none is, as reported", () => {
    expect(stateOf(combinedReasons([starting, { name: "red", state: "notReady", reasons: blip }]))).toBe("notReady");
  });

  it("a blip of those that work, beside one without a lease, leaves the agent degraded", () => {
    const reasons = combinedReasons([starting, { name: "red", state: "ready", reasons: blip }]);
    expect(stateOf(reasons)).toBe("degraded");
    expect(reasons.map(({ name }) => name)).toEqual(["network-not-ready", "network-not-ready"]);
  });
});

it("every reason has a kebab-case name and a sentence why it counts as it does", () => {
  for (const [name, { argument }] of Object.entries(reasonDefinitions)) {
    expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
    expect(argument).toMatch(/^[A-Z].*\.$/);
  }
});
