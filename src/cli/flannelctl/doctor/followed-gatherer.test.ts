// Which echoes are followed, where they have to pass, and which packet the rules of this host are tried with.
import { expect, it } from "vitest";
import type { ScanContext } from "../../../firewall/hook-packets.ts";
import { parseAddress, parsePrefix } from "../../../ip/address.ts";
import { firstPacket, planFollowing } from "./followed-gatherer.ts";

const port = {
  ...{ label: "the container of web", namespacePath: "/proc/12/ns/net", address: parseAddress("10.5.1.2") },
  ...{ device: "veth0", bridge: "cni0" },
};
const peer = {
  ...{ peer: "10.5.2.0-24", subnet: parsePrefix("10.5.2.0/24"), address: parseAddress("192.168.50.12") },
  ...{ isDirect: false, innerBytes: 1450, outerBytes: 1500, device: "flannel.1", carriedBy: "vxlan" },
};
const scan: ScanContext = {
  ...{
    networks: [parsePrefix("10.5.0.0/16")],
    ownSubnets: [parsePrefix("10.5.1.0/24"), parsePrefix("fd00:5:0:1::/64")],
  },
  ...{ tunnel: { 4: "flannel.1" }, inside: "cni0" },
};
const addresses = [
  { address: parsePrefix("192.168.50.11/24"), device: "eth0" },
  { address: parsePrefix("fd00:5:0:1::/128"), device: "flannel.1" },
  { address: parsePrefix("10.5.1.0/32"), device: "flannel.1" },
  { address: parsePrefix("10.5.1.1/24"), device: "cni0" },
];

const ends = [parseAddress("192.168.50.11")];

it("looks for echoes outside of this host, unless the host encrypts there what it sends", () => {
  const policy = (source: string, destination: string) =>
    ({ direction: "out", source: parsePrefix(source), destination: parsePrefix(destination) }) as const;
  const places = (target: typeof peer, ...encrypting: readonly ReturnType<typeof policy>[]) =>
    planFollowing({ ports: [port], targets: [target], ends, encrypting })
      .filter(({ sender }) => sender === "container")
      .flatMap(({ stations }) => stations.map(({ place }) => place).slice(0, stations.length / 2));
  const carried = ["port", "bridge", "tunnel"];
  expect(places(peer)).toEqual([...carried, "outside"]);
  expect(places(peer, policy("192.168.50.11/32", "192.168.50.12/32"))).toEqual(carried);
  expect(places(peer, policy("192.168.50.11/32", "192.168.50.13/32"))).toEqual([...carried, "outside"]);
  expect(places(peer, policy("10.5.1.0/24", "10.5.2.0/24"))).toEqual([...carried, "outside"]);
  const { device: _, carriedBy: __, ...plain } = { ...peer, isDirect: true };
  const direct = plain as typeof peer;
  expect(places(direct, policy("192.168.50.11/32", "192.168.50.12/32"))).toEqual(["port", "bridge", "outside"]);
  expect(places(direct, policy("10.5.1.0/24", "10.5.0.0/16"))).toEqual(["port", "bridge"]);
});

it("tries the rules with the first packet, also of what this host sends itself", () => {
  const plans = planFollowing({ ports: [port], targets: [peer], ends, encrypting: [] });
  const packets = plans.map((plan) => firstPacket(plan, scan, addresses));
  const out = { destination: "10.5.2.0", outgoing: "flannel.1", protocol: "icmp" };
  expect(packets).toEqual([
    { ...out, source: "10.5.1.0", incoming: "", way: "sent" },
    { ...out, source: "10.5.1.2", incoming: "cni0", way: "forwarded" },
    // Rules come before the first station.
    undefined,
  ]);
});
