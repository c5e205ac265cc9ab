// Ethernet devices that neither ask nor answer ARP (IFF_NOARP) where neighbours are needed: nobody is found on their link, and the kernel
// sends what leaves by them to themselves. Some modems and tunnels are so and work: what gets through them is left alone.
import { carriesTraffic, defineCheck } from "../check.ts";
import { runIp } from "../fix-step.ts";
import type { EchoFacts, UnderlayWay } from "../peer-facts.ts";

export const arpOff = defineCheck({
  name: "neighbour-wrong",
  severity: "error",
  needs: ["links", "underlayWays", "echoes", "containers"],
  appliesTo: carriesTraffic,
  check: (_context, { links, underlayWays, echoes, containers: { bridgePorts } }) => {
    const mute = mutedDevices(underlayWays, echoes);
    const withContainers = new Set(bridgePorts.map(({ bridge }) => bridge));
    return links
      .filter(({ name, isWithoutArp }) => isWithoutArp === true && (mute.has(name) || withContainers.has(name)))
      .map(({ name }) => ({ name, whom: mute.has(name) ? "hosts of peers" : "containers" }));
  },
  evidence: ({ name, whom }) =>
    `${name}, behind which ${whom} are, neither asks nor answers ARP (its flag NOARP): nobody is found there`,
  remedy: ({ name }) => `ip link set dev ${name} arp on`,
  fix: ({ name }) => [runIp(`link set dev ${name} arp on`, `link set dev ${name} arp off`)],
});

/** By which echoes left for hosts of peers, and none was answered. */
function mutedDevices(ways: readonly UnderlayWay[], echoes: readonly EchoFacts[]): ReadonlySet<string> {
  const results = new Map(echoes.map(({ address, underlay }) => [address, underlay]));
  const devicesOf = (result: EchoFacts["underlay"]) =>
    new Set(ways.filter(({ address }) => results.get(address) === result).map(({ device }) => device));
  return devicesOf("lost").difference(devicesOf("answered"));
}
