// What echoes to some peers say: which layer loses packets, and how large they may be.
import { carriesTraffic, defineCheck } from "../check.ts";
import { runIp, setSysctl } from "../fix-step.ts";
import type { EchoFacts } from "../peer-facts.ts";

/** NUD_PERMANENT */
const PERMANENT = 0x80;
const MIN_LOST = 2;

function shown(list: readonly EchoFacts[]): string {
  const [first] = list;
  const more = list.length > 1 ? ` and ${list.length - 1} more` : "";
  return `${first?.address}, the host of ${first?.subnet}${more}`;
}

function grouped(found: readonly EchoFacts[]): readonly (readonly EchoFacts[])[] {
  return found.length === 0 ? [] : [found];
}

/** On one link, so that the address itself is asked for. */
export const peerDown = defineCheck({
  name: "underlay-down",
  severity: "error",
  needs: ["echoes"],
  appliesTo: carriesTraffic,
  check: (_context, { echoes }) =>
    grouped(echoes.filter(({ underlay, linkAnswers }) => underlay === "lost" && linkAnswers?.length === 0)),
  evidence: (found) => `${shown(found)} does not answer on the link: it is off, or a cable or switch between is`,
  remedy: (found) => `ip neigh show to ${found[0]?.address} # then look at that host, its link, and the switch between`,
});

export const neighbourWrong = defineCheck({
  name: "neighbour-wrong",
  severity: "error",
  needs: ["neighbours", "echoes", "sysctls"],
  appliesTo: carriesTraffic,
  check: ({ externalInterface: { name } }, { neighbours, echoes, sysctls }) => {
    const pinned = neighbours
      .filter(({ state, address }) => (state & PERMANENT) !== 0 && lostHosts(echoes).has(address))
      .map(({ address, mac, device }) => ({
        what: `a static neighbour entry pins ${address}, the host of a peer that does not answer, to ${mac ?? "nothing"} on ${device}`,
        remedy: `ip neigh del ${address} dev ${device}`,
        fix: runIp(
          `neigh del ${address} dev ${device}`,
          mac === undefined ? undefined : `neigh replace ${address} lladdr ${mac} nud permanent dev ${device}`,
        ),
      }));
    const silent = ["all", name].find((device) => sysctls.get(`net/ipv4/conf/${device}/arp_ignore`) === "8");
    return silent === undefined
      ? pinned
      : [
          ...pinned,
          {
            what: `this host answers no ARP (net.ipv4.conf.${silent}.arp_ignore = 8): peers on the link do not find it`,
            remedy: `sysctl -w net/ipv4/conf/${silent}/arp_ignore=0`,
            fix: setSysctl(`net/ipv4/conf/${silent}/arp_ignore`, "0"),
          },
        ];
  },
  evidence: ({ what }) => what,
  remedy: ({ remedy }) => remedy,
  fix: ({ fix }) => [fix],
});

function lostHosts(echoes: readonly EchoFacts[]): ReadonlySet<string> {
  return new Set(echoes.filter(({ underlay }) => underlay === "lost").map(({ address }) => address));
}

export const underlayLossy = defineCheck({
  name: "underlay-lossy",
  severity: "warning",
  needs: ["echoes"],
  appliesTo: carriesTraffic,
  check: (_context, { echoes }) => grouped(echoes.filter(isLossy)),
  evidence: (found) =>
    `${found[0]?.underlayAnswered} of ${found[0]?.underlaySent} echoes to ${shown(found)} were answered, outside of any tunnel`,
  remedy: (found) =>
    `ping -i 0.2 -c 200 ${found[0]?.address} # then ethtool -S and tc -s qdisc of the interfaces between`,
});

const isLossy = ({ underlaySent, underlayAnswered }: EchoFacts): boolean =>
  underlayAnswered > 0 && underlaySent - underlayAnswered >= MIN_LOST;

/** Where small packets get lost as well, the loss of a few large ones says nothing, unless a router says that they are too large. */
const isTooLarge = (echo: EchoFacts): boolean =>
  echo.underlay === "answered" && echo.largeUnderlay === "lost" && (echo.pathMtuBytes !== undefined || !isLossy(echo));

export const pathMtu = defineCheck({
  name: "mtu-path-smaller",
  severity: "warning",
  needs: ["echoes"],
  appliesTo: carriesTraffic,
  check: (_context, { echoes }) =>
    grouped(echoes.filter((echo) => isTooLarge(echo) && (echo.largeTunnel !== "lost" || echo.tunnel !== "answered"))),
  evidence: (found) =>
    `packets of ${found[0]?.outerBytes} bytes to ${shown(found)} do not pass in one piece` +
    (found[0]?.pathMtuBytes === undefined ? "" : `; the path carries ${found[0].pathMtuBytes}`),
  remedy: (found) => mtuRemedy(found[0]),
});

export const fragmentsDropped = defineCheck({
  name: "fragments-dropped",
  severity: "error",
  needs: ["echoes"],
  appliesTo: carriesTraffic,
  check: (_context, { echoes }) =>
    grouped(
      echoes.filter(
        (echo) => echo.tunnel === "answered" && echo.largeTunnel === "lost" && (isTooLarge(echo) || !isLossy(echo)),
      ),
    ),
  evidence: (found) =>
    `echoes of ${found[0]?.innerBytes} bytes through the tunnel to ${shown(found)} are lost, small ones are answered` +
    (found[0] !== undefined && isTooLarge(found[0])
      ? ": the path fragments the tunnel's packets, and drops fragments"
      : ""),
  remedy: (found) => mtuRemedy(found[0]),
});

function mtuRemedy(echo: EchoFacts | undefined): string {
  const { pathMtuBytes, outerBytes = 0, innerBytes = 0 } = echo ?? {};
  const mtu = pathMtuBytes === undefined ? "a smaller number" : String(pathMtuBytes - (outerBytes - innerBytes));
  return `flannelctl config set # with "Backend": {"MTU": ${mtu}}; then re-create the containers`;
}

export const sourceCheck = defineCheck({
  name: "source-check",
  severity: "error",
  needs: ["echoes"],
  appliesTo: carriesTraffic,
  check: (_context, { echoes }) =>
    grouped(
      echoes.filter(
        ({ isDirect, bridge, hostToBridge }) => isDirect && bridge === "lost" && hostToBridge === "answered",
      ),
    ),
  evidence: (found) =>
    `${shown(found)} answers this host's own address, but not that of its containers' bridge: the network drops packets by their source`,
  remedy: () =>
    "let the network pass packets whose source is a container: EC2 source/destination check off, GCE canIpForward, OpenStack allowed-address-pairs",
});

const isCutOff = ({ underlay, tunnel, isDirect }: EchoFacts): boolean =>
  !isDirect && underlay === "answered" && (tunnel === "lost" || tunnel === "refused");

export const peerUnreachable = defineCheck({
  name: "peer-unreachable",
  severity: "error",
  needs: ["echoes"],
  appliesTo: carriesTraffic,
  check: (_context, { echoes }) => grouped(echoes.filter(isCutOff)),
  evidence: (found) =>
    `${shown(found)} answers echoes outside of the tunnel, but not through it: packets of the tunnel are lost between the hosts or there`,
  remedy: (_, { needs }) =>
    `flannelctl doctor # on that host; and let UDP port ${needs.kernelDevice?.udpPort ?? needs.udpPort ?? "of the backend"} pass both ways (security group, firewall)`,
});
