import { expect, test } from "vitest";
import { hostKinds } from "../../host/kinds/kinds.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import { FailureScopes } from "./failure-scope.ts";

/** As the udp backend plans it without peers: the device, its address, the route of the whole network. */
const scopes = new FailureScopes({
  link: [{ kind: "tun", name: "flannel0", mtuBytes: 1472 }],
  address: [{ device: "flannel0", address: parsePrefix("10.5.1.0/32") }],
  route: [{ destination: parsePrefix("10.5.0.0/16"), device: "flannel0", onLink: false }],
  sysctl: [{ key: "net/ipv6/conf/flannel0/accept_ra", value: "0" }],
});
const failure = { object: "", error: "", attempts: 1 };

test.each([
  ["link", "flannel0", "own"],
  ["address", "flannel0 10.5.1.0/32", "own"],
  ["route", "10.5.0.0/16", "own"],
  ["route", "10.5.7.0/24", "peer"],
  ["neighbour", `flannel.1 ${parseAddress("10.5.7.0")}`, "peer"],
  ["fdb", "flannel.1 02:00:00:00:00:07", "peer"],
  ["sysctl", "net/ipv6/conf/flannel0/accept_ra", "precaution"],
  ["blackhole", "10.5.1.0/24", "precaution"],
] as const)("%s %s is of scope %s", (name, key, scope) => {
  const kind = hostKinds.find((known) => known.name === name);
  if (kind === undefined) throw new Error(`there is no kind ${name}`);
  expect(scopes.of({ failure, slot: { kind, key, isDesired: true } })).toBe(scope);
  expect(scopes.of({ failure, slot: { kind, key, isDesired: false } })).toBe("leftover");
});

test("objects that wait for a device are our own: all peers are behind it", () => {
  expect(scopes.of({ failure })).toBe("own");
});
