// `flannelctl ping`: outside of the tunnel, through it, to the bridge and to the container, so that one sees which layer loses the
// packets. Only addresses of peers that the agent serves are asked.
import { FlannelError } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { type Address, type Prefix, prefixAddress, tryParseAddress, tryParsePrefix } from "../../../ip/address.ts";
import { addToAddress, containsAddress } from "../../../ip/prefix.ts";
import { type PingLeg, type PingResult, pingLegs } from "../../../probe/ping-legs.ts";
import { PROBE_MARK } from "../../../probe/probe-payload.ts";
import { EchoSocket } from "../../../sys/echo-socket.ts";
import { formatTable, type Paint } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { type PingOutput, pingOutputSchema } from "../session/json-output.ts";
import { isMeant } from "../session/meant-peer.ts";
import { statusRequest } from "./status.ts";

export interface PingFlags {
  readonly count: number;
  /** Of the whole IP packet. */
  readonly size?: number;
}

const TIMEOUT_MS = 1_000;
const MARK_OF_A_PERSON = PROBE_MARK ^ 1;

interface Peer {
  readonly subnet: Prefix;
  readonly publicIp?: Address;
  readonly hasTunnel: boolean;
  readonly backendType: string;
}

/** 0: all answered that have to; 1: something got lost. */
export async function pingPeer(invocation: Invocation, target: string, flags: PingFlags): Promise<ExitCode> {
  const results = await pingPeers(invocation, target, flags);
  const output = { target, peers: results };
  present(invocation, pingOutputSchema, output, render);
  const isWell = results.every(({ legs }) =>
    legs.every(({ name, sent, answered }) => name === "bridge" || sent === answered),
  );
  return isWell ? exitCodes.ok : exitCodes.failure;
}

/** Throws `USAGE` for what is no peer's, `CONFIG_MISSING` where the agent does not probe. */
export async function pingPeers(
  invocation: Invocation,
  target: string,
  flags: PingFlags,
): Promise<PingOutput["peers"]> {
  const { networks } = await askAgent(invocation.options.socketPaths, statusRequest, invocation.signal);
  const peers = networks.flatMap(({ probes, backendType = "" }) =>
    (probes?.paths ?? []).flatMap((path): (Peer & { readonly key: string })[] => {
      const subnet = tryParsePrefix(path.subnet);
      const publicIp = tryParseAddress(path.publicIp ?? "");
      if (subnet === undefined) return [];
      const hasTunnel = path.signature.includes("tunnel");
      return [{ key: path.peer, subnet, hasTunnel, backendType, ...(publicIp !== undefined && { publicIp }) }];
    }),
  );
  if (networks.every(({ probes }) => probes === undefined)) {
    throw new FlannelError("CONFIG_MISSING", "the agent tells no addresses of peers: it runs with --probe-interval=0");
  }
  const address = tryParseAddress(target);
  const found = peers.filter(({ key, subnet, publicIp }) =>
    isMeant({ key, subnets: [subnet], publicAddresses: [publicIp] }, target),
  );
  if (found.length === 0) {
    throw new FlannelError(
      "USAGE",
      `${target} is no peer's public address, subnet or lease, and lies in no peer's subnet`,
    );
  }
  const results: PingOutput["peers"] = [];
  for (const peer of found) results.push(await pingOne(peer, address, flags, invocation.signal));
  return results;
}

async function pingOne(
  peer: Peer,
  address: Address | undefined,
  { count, size }: PingFlags,
  signal: AbortSignal,
): Promise<PingOutput["peers"][number]> {
  const legs = legsOf(peer, address);
  const openPort = (family: 4 | 6) => EchoSocket.open(family, MARK_OF_A_PERSON);
  const results = await pingLegs({
    ...{ legs, count, timeoutMs: TIMEOUT_MS, openPort, signal },
    ...(size !== undefined && { packetBytes: size }),
  });
  return {
    subnet: peer.subnet,
    ...(peer.publicIp !== undefined && { publicIp: peer.publicIp }),
    backendType: peer.backendType,
    legs: results.map(legOutput),
    verdict: verdictOf(results),
  };
}

function legsOf({ subnet, publicIp, hasTunnel }: Peer, address: Address | undefined): PingLeg[] {
  const [tunnel, bridge] = [prefixAddress(subnet), addToAddress(prefixAddress(subnet), 1n)];
  const isContainer =
    address !== undefined && containsAddress(subnet, address) && address !== tunnel && address !== bridge;
  const alsoFrom = publicIp === undefined ? {} : { alsoFrom: publicIp };
  return [
    ...(publicIp === undefined ? [] : [{ name: "underlay", kind: "underlay", target: publicIp } as const]),
    ...(hasTunnel ? [{ name: "tunnel", kind: "tunnel", target: tunnel, ...alsoFrom } as const] : []),
    { name: "bridge", kind: "bridge", target: bridge },
    ...(isContainer ? [{ name: "container", kind: "bridge", target: address } as const] : []),
  ];
}

function legOutput({ leg, sent, rttsMs, cause }: PingResult): PingOutput["peers"][number]["legs"][number] {
  const sorted = rttsMs.toSorted((a, b) => a - b);
  const at = (share: number) => Math.round((sorted[Math.floor(share * (sorted.length - 1))] ?? 0) * 1_000) / 1_000_000;
  return {
    name: leg.name,
    target: leg.target,
    sent,
    answered: rttsMs.length,
    ...(sorted.length > 0 && { rttSeconds: { least: at(0), median: at(0.5), most: at(1) } }),
    ...(cause !== undefined && { cause }),
  };
}

/** Which layer loses the packets: the first leg without an answer says it. */
function verdictOf(results: readonly PingResult[]): string {
  const answers = (name: string) => {
    const found = results.find(({ leg }) => leg.name === name);
    return found === undefined ? undefined : found.rttsMs.length > 0;
  };
  const [underlay, tunnel, bridge, container] = ["underlay", "tunnel", "bridge", "container"].map(answers);
  if (container === true) return "the container answers";
  if (tunnel === false || (tunnel === undefined && bridge === false && container !== undefined)) {
    if (underlay === false) return "the peer's host does not answer: it is down, or the network between the hosts is";
    if (tunnel === false)
      return "lost in the tunnel: its port is closed on the way, or the peer's flannel device is missing";
  }
  if (container === false) {
    return bridge === true
      ? "the container does not answer: lost behind the peer's bridge, by its firewall, or there is no such container"
      : "lost behind the tunnel: the peer does not forward to its containers, or has no bridge";
  }
  if (bridge === false) return "the peer's bridge does not answer: there is none before the first container";
  return "all answer";
}

function render({ target, peers }: PingOutput, paint: Paint): string[] {
  return peers.flatMap(({ subnet, publicIp, backendType, legs, verdict }) => [
    `${paint.bold(target)} is in ${subnet}${publicIp === undefined ? "" : ` of ${publicIp}`}, ${backendType}`,
    ...formatTable(
      ["", "", "", ""],
      legs.map(({ name, target: to, sent, answered, rttSeconds, cause = "" }) => [
        name,
        to,
        rttSeconds === undefined ? "-" : `${(rttSeconds.median * 1_000).toFixed(2)} ms`,
        answered === sent
          ? "ok"
          : [`${sent - answered} of ${sent} lost`, cause].filter((text) => text !== "").join(": "),
      ]),
    )
      .slice(1)
      .map((line) => `  ${line}`),
    `  so: ${verdict}`,
  ]);
}
