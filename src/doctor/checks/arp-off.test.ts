// Which devices without ARP are trouble: those of containers of this network, and those on whose link peers are.
import { expect, it } from "vitest";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import { type HostFacts, noFacts } from "../host-facts.ts";
import type { EchoFacts } from "../peer-facts.ts";
import { arpOff } from "./arp-off.ts";

const context = {
  ...{ families: new Set([4] as const), networks: [], earlierSubnets: [], devices: ["flannel.1"] },
  ownSubnets: [parsePrefix("10.5.1.0/24")],
  externalInterface: { name: "eth0", index: 2, mtuBytes: 1500, isUp: true },
  ...{ overlayMtuBytes: 1450, needs: { carriesTraffic: true } },
};
const link = (name: string, index: number) =>
  ({ name, index, mtuBytes: 1500, isUp: true, isRunning: true, isLoopback: false, isWithoutArp: true }) as const;
const facts: HostFacts = {
  ...noFacts,
  links: [link("eth0", 2), link("wwan0", 3), link("cni0", 4), link("vmbr0", 5), link("cni1", 6)],
  bridges: [
    { name: "cni0", addresses: [parsePrefix("10.5.1.1/24")], attached: 1 },
    { name: "vmbr0", addresses: [], attached: 3 },
    { name: "cni1", addresses: [parsePrefix("10.6.1.1/24")], attached: 1 },
  ],
  hostAddresses: [
    { address: parsePrefix("192.168.50.11/24"), device: "eth0", flags: 0 },
    { address: parsePrefix("100.70.1.2/30"), device: "wwan0", flags: 0 },
  ],
};
const found = (more: Partial<HostFacts>) => arpOff.run(context, { ...facts, ...more }).map(({ remedy }) => remedy);

function peer(host: string, device: string, underlay: EchoFacts["underlay"], gateway?: string) {
  const address = parseAddress(host);
  const echo: EchoFacts = {
    ...{ peer: host, family: 4, subnet: parsePrefix("10.5.9.0/24"), address, isDirect: false, underlay },
    ...{ underlaySent: 3, underlayAnswered: 0, outerBytes: 1500, innerBytes: 1450 },
    ...{ tunnel: "unknown", bridge: "unknown", hostToBridge: "unknown" },
    ...{ largeUnderlay: "unknown", largeTunnel: "unknown" },
  };
  const way = { peer: host, address, device, deviceMtuBytes: 1500 };
  return { echo, way: { ...way, ...(gateway !== undefined && { gateway: parseAddress(gateway) }) } };
}

const withPeers = (...peers: readonly ReturnType<typeof peer>[]) =>
  found({ echoes: peers.map(({ echo }) => echo), underlayWays: peers.map(({ way }) => way) });

it("a bridge of containers of this network, and no other bridge", () => {
  expect(found({})).toEqual(["ip link set dev cni0 arp on"]);
});

it("a device on whose link no peer answers", () => {
  const containers = "ip link set dev cni0 arp on";
  const lost = peer("192.168.50.12", "eth0", "lost");
  expect(withPeers(lost)).toEqual(["ip link set dev eth0 arp on", containers]);
  expect(withPeers(lost, peer("192.168.50.13", "eth0", "answered"))).toEqual([containers]);
});

it("not a modem by which a peer that is down would be reached", () => {
  const containers = "ip link set dev cni0 arp on";
  expect(withPeers(peer("203.0.113.9", "wwan0", "lost"))).toEqual([containers]);
  expect(withPeers(peer("203.0.113.9", "wwan0", "lost", "100.70.1.1"))).toEqual([containers]);
});
