// Ethernet devices that neither ask nor answer ARP (IFF_NOARP) where neighbours are needed: nobody is found on their link, and the kernel
// sends what leaves by them to themselves. Some modems and tunnels are so and work, and bridges of others may be meant so: only hosts of
// peers on the same link and containers of this network need ARP.
import { type Prefix, prefixAddress } from "../../ip/address.ts";
import { containsAddress } from "../../ip/prefix.ts";
import { carriesTraffic, defineCheck } from "../check.ts";
import { runIp } from "../fix-step.ts";
import type { HostFacts } from "../host-facts.ts";
import type { EchoFacts, UnderlayWay } from "../peer-facts.ts";

export const arpOff = defineCheck({
  name: "neighbour-wrong",
  severity: "error",
  needs: ["links", "underlayWays", "echoes", "bridges", "hostAddresses"],
  appliesTo: carriesTraffic,
  check: ({ ownSubnets }, { links, underlayWays, echoes, bridges, hostAddresses }) => {
    const mute = mutedDevices(
      underlayWays.filter((way) => isOnLink(way, hostAddresses)),
      echoes,
    );
    const isOwn = (address: Prefix) => ownSubnets.some((subnet) => containsAddress(subnet, prefixAddress(address)));
    const withContainers = new Set(
      bridges.filter(({ attached, addresses }) => attached > 0 && addresses.some(isOwn)).map(({ name }) => name),
    );
    return links
      .filter(({ name, isWithoutArp }) => isWithoutArp === true && (mute.has(name) || withContainers.has(name)))
      .map(({ name }) => ({ name, whom: mute.has(name) ? "hosts of peers" : "containers" }));
  },
  evidence: ({ name, whom }) =>
    `${name}, behind which ${whom} are, neither asks nor answers ARP (its flag NOARP): nobody is found there`,
  remedy: ({ name }) => `ip link set dev ${name} arp on`,
  fix: ({ name }) => [runIp(`link set dev ${name} arp on`, `link set dev ${name} arp off`)],
});

/** What is behind a gateway, or at the other end of a modem, may be down itself. */
function isOnLink({ address, device, gateway }: UnderlayWay, addresses: HostFacts["hostAddresses"]): boolean {
  const isAround = (one: HostFacts["hostAddresses"][number]) =>
    one.device === device && containsAddress(one.address, address);
  return gateway === undefined && addresses.some(isAround);
}

/** By which echoes left for hosts of peers, and none was answered. */
function mutedDevices(ways: readonly UnderlayWay[], echoes: readonly EchoFacts[]): ReadonlySet<string> {
  const results = new Map(echoes.map(({ address, underlay }) => [address, underlay]));
  const devicesOf = (result: EchoFacts["underlay"]) =>
    new Set(ways.filter(({ address }) => results.get(address) === result).map(({ device }) => device));
  return devicesOf("lost").difference(devicesOf("answered"));
}
