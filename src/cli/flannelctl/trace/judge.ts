// Where the test packets got lost, by the first station of this host's that did not see them. Of the other host nothing is seen from
// here but its answers: so much is said of it, and no more. Pure.
import type { DesiredWay } from "../../../agent/control/trace-protocol.ts";
import type { LiveResult } from "./live-test.ts";
import type { RuleDrop } from "./rule-drops.ts";
import { UNSEEN_PACKETS } from "./seen-packets.ts";
import { isTrouble, type TraceLine } from "./trace-line.ts";
import type { WirePoint } from "./wire.ts";

export interface PeerAnswer {
  /** underlay, tunnel, bridge: as in `flannelctl ping`. */
  readonly name: string;
  readonly target: string;
  readonly sent: number;
  readonly answered: number;
}

export interface Stations {
  /** By which packets go towards the address, as the kernel says. */
  readonly outDevice?: string;
  /** By which they leave this host. */
  readonly outside?: { readonly address: string; readonly device: string };
}

export interface Hop {
  readonly text: string;
  readonly seen: number;
  readonly of: number;
}

export interface Judgement {
  readonly hops: readonly Hop[];
  readonly isLost: boolean;
  readonly verdict: string;
  readonly next?: string;
}

interface Found extends Stations {
  /** The stand-in for a container sent: its packets come in by this bridge. */
  readonly bridge?: string;
  readonly desired: DesiredWay;
  readonly live: LiveResult;
  readonly peer: readonly PeerAnswer[];
  /** The kernel's state on this host names one: that comes before a look at the other host. */
  readonly hasRemedy?: boolean;
  readonly fullSize?: { readonly bytes: number; readonly sent: number; readonly answered: number };
}

export function judge(found: Found): Judgement {
  const { live, desired, fullSize } = found;
  const hops = hopsOf(found);
  if (live.rttsMs.length === live.sent && live.sent > 0) {
    if (fullSize !== undefined && fullSize.answered === 0) {
      const verdict = `small packets arrive and come back, and packets of ${fullSize.bytes} bytes do not: the path carries less than the MTU of the containers`;
      return { hops, isLost: true, verdict, next: "flannelctl peers --wide # MTU of the path" };
    }
    return {
      hops,
      isLost: false,
      verdict: `the packets arrive and the answers come back${desired.place === "here" ? "" : ", by the tunnel's whole way"}`,
    };
  }
  return { hops, isLost: true, ...lossOf(found) };
}

const isPlain = ({ form }: WirePoint): boolean => form === "plain";

interface Expected {
  readonly text: string;
  readonly point: WirePoint | undefined;
  readonly lost: string;
}

function expectedOf(found: Found): Expected[] {
  const { bridge, live } = found;
  const here = hostStations(found);
  if (bridge === undefined) return here;
  const seen = (packet: WirePoint["packet"], direction: WirePoint["direction"]) =>
    live.points.find((point) => point.packet === packet && point.device === bridge && point.direction === direction);
  return [
    {
      text: `came in by ${bridge} here`,
      point: seen("request", "in"),
      lost: `the packets of the container did not come out of ${bridge}: lost in the bridge, or by a rule of it`,
    },
    ...here,
    {
      text: `answer left by ${bridge} here`,
      point: seen("reply", "out"),
      lost: `the answer came back to this host and was not forwarded to ${bridge}: by forwarding, a route, rp_filter, or a rule for forwarded packets`,
    },
  ];
}

/** Between the containers and the other host. */
function hostStations({ live, desired, outDevice, outside, bridge }: Found): Expected[] {
  const find = (packet: WirePoint["packet"], device: string | undefined, is: (point: WirePoint) => boolean) =>
    live.points.find(
      (point) =>
        point.packet === packet &&
        point.device === device &&
        point.direction === (packet === "request" ? "out" : "in") &&
        is(point),
    );
  // The kernel encrypts before the device sees anything.
  const isIpsec = desired.carriedBy === "ipsec";
  const isDirect = !isIpsec && (outside === undefined || outDevice === outside.device);
  const stations: Expected[] = [];
  if (outDevice !== undefined && !isIpsec) {
    stations.push({
      text: `left ${outDevice} here`,
      point: find("request", outDevice, isPlain),
      lost:
        bridge === undefined
          ? `lost on this host before ${outDevice}: by its routes, or by a rule on the way out`
          : `lost on this host between ${bridge} and ${outDevice}: by forwarding, a route, rp_filter, or a rule for forwarded packets`,
    });
  }
  if (!isDirect && outside !== undefined) {
    stations.push({
      text: `left ${outside.device} here, ${carriedText(desired)} to ${outside.address}`,
      point: find("request", outside.device, (point) => !isPlain(point)),
      lost: `went into ${outDevice ?? "the tunnel"} and did not leave ${outside.device}: lost on this host, in the tunnel's device, by the route to ${outside.address}, or by a rule for the tunnel's packets`,
    });
    stations.push({
      text: `answer arrived at ${outside.device} here`,
      point: find("reply", outside.device, (point) => !isPlain(point)),
      lost: "",
    });
    stations.push({
      text: `answer came out of ${outDevice ?? "the tunnel"} here`,
      point: find("reply", outDevice, isPlain),
      lost: `the answer came back to ${outside.device} and not out of ${outDevice ?? "the tunnel"}: lost on this host, by a rule for the tunnel's packets, or since the tunnel does not take it (port, VNI, MAC or key)`,
    });
  }
  if (isDirect) {
    stations.push({
      text: `answer arrived at ${outDevice ?? "this host"} here`,
      point: find("reply", outDevice, isPlain),
      lost: "",
    });
  }
  return stations;
}

function carriedText({ carriedBy, outside }: DesiredWay): string {
  const port = outside?.port === undefined ? "" : ` port ${outside.port}`;
  return `${carriedBy ?? "tunnel"}${outside?.protocol === "udp" ? `, UDP${port},` : ""}`;
}

function canSee({ gaps }: LiveResult): boolean {
  return !gaps.some((gap) => gap.startsWith(UNSEEN_PACKETS));
}

function hopsOf(found: Found): Hop[] {
  const { live } = found;
  const sent: Hop = {
    text:
      live.sendError === undefined
        ? `sent by ${found.bridge === undefined ? "this host" : "the container"}`
        : `not sent: ${live.sendError}`,
    seen: live.sendError === undefined ? live.sent : 0,
    of: live.sent,
  };
  const hops = canSee(live)
    ? expectedOf(found).map(({ text, point }) => ({
        text: `${text}${point?.around === undefined ? "" : ` (${point.around}, ${point.packetBytes} bytes)`}`,
        seen: Math.min(point?.seen ?? 0, live.sent),
        of: live.sent,
      }))
    : [];
  return [sent, ...hops, { text: "answer delivered here", seen: live.rttsMs.length, of: live.sent }];
}

function lossOf(found: Found): Pick<Judgement, "verdict" | "next"> {
  const { live } = found;
  const here = lossHere(found);
  if (here === undefined) {
    const next = found.hasRemedy === true ? {} : { next: "flannelctl doctor # on that host" };
    return { verdict: beyondText(found), ...next };
  }
  return { verdict: live.rttsMs.length === 0 ? here : `${answeredText(live)}; of the others: ${here}` };
}

function answeredText({ rttsMs, sent }: LiveResult): string {
  return `${rttsMs.length} of ${sent} answers came back`;
}

/** Undefined: not on this host, as far as could be seen. */
function lossHere(found: Found): string | undefined {
  const { live } = found;
  const drop = live.drops[0];
  if (drop !== undefined) return dropText(drop);
  if (live.sendError !== undefined) return sendErrorText(live.sendError);
  const enough = live.rttsMs.length === 0 ? 1 : live.sent;
  const expected = expectedOf(found);
  const lost = expected.find(({ point }) => (point?.seen ?? 0) < enough);
  const isSeen = canSee(live) && expected.length > 0;
  if (isSeen && lost !== undefined && lost.lost !== "") return withGrown(lost.lost, live);
  if (isSeen && lost === undefined) {
    const text =
      "the answer came back to this host and was not delivered: by a rule for packets that come in, or by rp_filter";
    return withGrown(text, live);
  }
  return undefined;
}

function withGrown(text: string, { grown }: LiveResult): string {
  return grown.length === 0 ? text : `${text}; meanwhile: ${grown.join(", ")}`;
}

function dropText({ chain, rule, packet, isOfTunnel }: RuleDrop): string {
  const what = `${packet === "request" ? "the packet" : "the answer"}${isOfTunnel ? " inside of the tunnel's packet" : ""}`;
  return `lost on this host: ${chain} drops ${what} by ${rule === undefined ? "its policy" : `the rule "${rule}"`}`;
}

function sendErrorText(errno: string): string {
  const reasons: Readonly<Record<string, string>> = {
    EPERM: "a rule for packets of this host forbids them",
    ENETUNREACH: "this host has no route for it",
    EHOSTUNREACH: "nobody on the link answers for the next hop",
    EACCES: "a prohibit route or rule matches",
    EINVAL: "a blackhole route matches, or this host lacks the source address",
    EMSGSIZE: "it is larger than the MTU of the device",
    ENOBUFS: "the device took no more packets",
  };
  return `lost on this host: the kernel refuses to send (${errno}): ${reasons[errno] ?? "see its log"}`;
}

/** What is known of packets that left this host, or were not seen on it. */
function beyondText({ peer, live, desired, outside }: Found): string {
  const host = desired.outside?.address ?? "its host";
  const left = canSee(live)
    ? "the packets left this host, and no answer came back to it"
    : "no answer came back, and where the packets got lost on this host was not seen";
  const told = live.errors.length === 0 ? "" : ` (${live.errors.join("; ")})`;
  if (live.rttsMs.length > 0) return `${answeredText(live)}${told}; ${restText(live, desired)}`;
  if (desired.place === "here")
    return `no answer from the container${told}: it does not answer echo requests, is down, or does not exist`;
  if (desired.place === "peer" && outside === undefined && isTunnelled(desired)) {
    return `lost on this host: the kernel has no way to ${host}, the peer's host, for the tunnel's packets${told}`;
  }
  return `${left}${told}${silenceText(peer, desired, host)}`;
}

/** Where it begins to be silent, by who answers at the peer, layer by layer. */
function silenceText(peer: Found["peer"], desired: DesiredWay, host: string): string {
  const answers = (name: string): boolean | undefined => {
    const found = peer.find((one) => one.name === name);
    return found === undefined ? undefined : found.answered > 0;
  };
  const [tunnel, bridge] = [answers("tunnel"), answers("bridge")];
  const beyond = "what becomes of them there cannot be seen from here";
  const isSilentInside = tunnel === false || (tunnel === undefined && bridge === false);
  if (isSilentInside && answers("underlay") === false) {
    return `: ${host} does not answer outside of the tunnel either: it is down, or the network between the hosts is`;
  }
  if (tunnel === false) {
    return `: ${host} answers outside of the tunnel and nothing inside does: the network or a firewall there drops the tunnel's packets, ${tunnelEnd(desired)}; ${beyond}`;
  }
  if (bridge === false && desired.carriedBy === "ipsec") {
    return `: ${host} answers outside of the tunnel, its bridge does not through it: the network or a firewall there drops IPsec's packets (UDP 500 and 4500, ESP), ${tunnelEnd(desired)}, or it has no containers; ${beyond}`;
  }
  if (bridge === false) {
    return `: ${host} answers${tunnel === true ? " through the tunnel" : ""}, its bridge does not: it has no containers, or does not forward to them; ${beyond}`;
  }
  if (bridge === true) {
    return `: the bridge of ${host} answers and the container does not: there is no such container, it is down or filters echo requests, or ${host} does not forward to it (forwarding, rp_filter, a rule); ${beyond}`;
  }
  return `; ${beyond}`;
}

/** Of the packets that are lost where others arrive. */
function restText(live: LiveResult, desired: DesiredWay): string {
  if (desired.place === "here") return "the others were lost in the container, or on the way to it or back";
  return canSee(live) ? "the others were lost beyond this host" : "where the others were lost was not seen";
}

function isTunnelled({ carriedBy }: DesiredWay): boolean {
  return carriedBy !== undefined && carriedBy !== "direct" && carriedBy !== "other";
}

/** What the peer's end of the tunnel may lack. */
function tunnelEnd({ carriedBy }: DesiredWay): string {
  switch (carriedBy) {
    case "wireguard":
      return "its device is missing or down, or it has another key than its lease says";
    case "ipsec":
      return "its charon is down or has another key";
    default:
      return "or its flannel device is missing or down";
  }
}

/** What the static half found first on the way: what comes after it may follow from it. */
export function troubleOf(lines: readonly TraceLine[]): TraceLine | undefined {
  return lines.find(isTrouble);
}
