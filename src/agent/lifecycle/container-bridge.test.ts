import { expect, test } from "vitest";
import { parsePrefix } from "../../ip/address.ts";
import { type BridgeFacts, bridgeFindings, repairOfBridge, shortageFindings } from "./container-bridge.ts";

const wish = { ownSubnets: [parsePrefix("10.5.7.0/24")], earlierSubnets: [parsePrefix("10.5.3.0/24")], mtuBytes: 1400 };

function bridge(address: string, mtuBytes: number, ...ports: readonly number[]): BridgeFacts {
  return {
    name: "cni0",
    mtuBytes,
    addresses: [parsePrefix("fe80::1/64"), parsePrefix(address)],
    ports: ports.map((mtu, index) => ({ name: `veth${index}`, mtuBytes: mtu })),
  };
}

test("a bridge with an earlier address goes when nothing is attached, and no other one does", () => {
  expect(repairOfBridge(bridge("10.5.3.1/24", 1400), wish)).toMatchObject({ type: "remove", address: "10.5.3.1/24" });
  expect(repairOfBridge(bridge("10.5.3.1/24", 1500, 1400), wish)).toBeUndefined();
  expect(repairOfBridge(bridge("192.168.1.1/24", 1400), wish)).toBeUndefined();
  expect(repairOfBridge(bridge("10.5.3.1/24", 1400), { ...wish, ownSubnets: [] })).toBeUndefined();
});

test("the bridge gets the network's MTU, unless a container has less room than that", () => {
  expect(repairOfBridge(bridge("10.5.7.1/24", 1450, 1450), wish)).toEqual({ type: "mtu", mtuBytes: 1400 });
  expect(repairOfBridge(bridge("10.5.7.1/24", 1350), wish)).toEqual({ type: "mtu", mtuBytes: 1400 });
  expect(repairOfBridge(bridge("10.5.7.1/24", 1350, 1400, 1450), wish)).toEqual({ type: "mtu", mtuBytes: 1400 });
  expect(repairOfBridge(bridge("10.5.7.1/24", 1350, 1400, 1350), wish)).toBeUndefined();
  expect(repairOfBridge(bridge("10.5.7.1/24", 1400, 1400), wish)).toBeUndefined();
});

test("containers with another MTU are reported, each kind with what it costs", () => {
  const [larger, smaller, ...none] = bridgeFindings(bridge("10.5.7.1/24", 1400, 1450, 1400, 1350), wish);
  expect(larger?.evidence).toContain("1 interface of the bridge cni0 (veth0) have a larger MTU");
  expect(smaller?.evidence).toContain("(veth2)");
  expect(none).toEqual([]);
  expect(bridgeFindings(bridge("10.5.7.1/24", 1400, 1400), wish)).toEqual([]);
});

test("addresses that run out are reported before the last one is gone", () => {
  const subnet = parsePrefix("10.5.7.0/24");
  const severityOf = (used: number) => shortageFindings(subnet, 256, used, "/d").map(({ severity }) => severity);
  expect([0, 227, 228, 252, 253].flatMap(severityOf)).toEqual(["warning", "warning", "error"]);
  expect(shortageFindings(parsePrefix("10.5.7.0/30"), 2, 2, "/d")).toEqual([]);
});
