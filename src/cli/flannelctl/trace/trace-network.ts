// One trace in one network: both halves, and what follows.
import type { DesiredWay } from "../../../agent/control/trace-protocol.ts";
import { withNetlink } from "../../../doctor/gather/kernel.ts";
import { describeError, FlannelError, hasCode } from "../../../errors.ts";
import { HookScanner } from "../../../firewall/hook-scanner.ts";
import { ruleNames } from "../../../firewall/rule-set.ts";
import { ruleSuffix } from "../../../firewall/rule-suffix.ts";
import { type Address, familyOf, type Prefix, prefixAddress, tryParseAddress } from "../../../ip/address.ts";
import { addToAddress, containsAddress } from "../../../ip/prefix.ts";
import { removeLeftTraceTables } from "../../../netlink/nftables/nf-trace-socket.ts";
import { type PingLeg, pingLegs } from "../../../probe/ping-legs.ts";
import { PROBE_MARK } from "../../../probe/probe-payload.ts";
import { storeIdentity } from "../../../store/store-identity.ts";
import { EchoSocket } from "../../../sys/echo-socket.ts";
import type { Invocation } from "../session/invocation.ts";
import { optionsOfNetwork } from "../session/one-network.ts";
import { storeOptions } from "../session/open-store.ts";
import type { NetworkTrace } from "../session/trace-output.ts";
import { type Judgement, judge, type PeerAnswer, troubleOf } from "./judge.ts";
import { type KernelWay, readKernelWay } from "./kernel-way.ts";
import { type LiveOptions, type LiveResult, runLiveTest, TRACE_MARK } from "./live-test.ts";
import { rulesOnWay } from "./rules-on-way.ts";
import { ScratchContainer } from "./scratch-container.ts";
import { containerSender, hostSender } from "./test-sender.ts";
import type { TraceLine } from "./trace-line.ts";

const PEER_COUNT = 3;
const PEER_TIMEOUT_MS = 1_000;
const FULL_SIZE_COUNT = 2;
const MARK_OF_A_PERSON = PROBE_MARK ^ 1;

export interface TraceHow {
  /** Packets are sent. */
  readonly isLive: boolean;
  /** By a stand-in for a container. */
  readonly asContainer: boolean;
}

export async function traceNetwork(
  invocation: Invocation,
  desired: DesiredWay,
  address: Address,
  { isLive, asContainer }: TraceHow,
): Promise<NetworkTrace> {
  removeLeftTraceTables();
  const way = await withNetlink((netlink) => readKernelWay(netlink, desired, address));
  const lines: TraceLine[] = [
    ...skippedLines(desired),
    ...way.lines,
    ...(await ruleLines(invocation, desired, way, address)),
  ];
  const base = {
    ...{ name: desired.name, place: desired.place, lines: [...lines] },
    ...(desired.backendType !== undefined && { backendType: desired.backendType }),
    ...(desired.lease !== undefined && { lease: desired.lease }),
  };
  if (desired.place === "nobody" || desired.place === "outside") return { ...base, ...nobodysVerdict(desired) };
  const trouble = troubleOf(lines);
  const live = isLive
    ? await tryLive(invocation, desired, way, address, { asContainer, hasRemedy: trouble?.remedy !== undefined })
    : undefined;
  const cause = trouble === undefined ? {} : { cause: troubleText(trouble) };
  const next = trouble?.remedy === undefined ? {} : { next: trouble.remedy };
  if (live === undefined || "problem" in live) {
    const problem = live === undefined ? "" : `; no packets were sent: ${live.problem}`;
    const verdict = trouble === undefined ? "all is as desired as far as the kernel tells" : "not all is as desired";
    return { ...base, verdict: `${verdict}${problem}`, ...cause, ...next };
  }
  const { judgement, output } = live;
  return {
    ...base,
    live: output,
    lost: judgement.isLost,
    verdict: judgement.verdict,
    ...cause,
    ...next,
    ...(judgement.next !== undefined && { next: judgement.next }),
  };
}

function skippedLines({ skippedReason, lease }: DesiredWay): TraceLine[] {
  if (skippedReason === undefined || lease === undefined) return [];
  return [
    {
      station: "lease",
      text: `this host does not serve ${lease.key}: it ${skippedReason}`,
      verdict: "bad",
      remedy: `flannelctl lease show ${lease.key}`,
    },
  ];
}

function nobodysVerdict({ place, knownLeases, networks }: DesiredWay): Pick<NetworkTrace, "verdict" | "next"> {
  if (place === "outside") {
    return {
      verdict: `not an address of ${networks.join(", ") || "flannel's network"}: this host sends such packets as the route says`,
    };
  }
  return {
    verdict: `none of the ${knownLeases} leases that this host knows is for it: there is no host behind this address`,
    next: "flannelctl lease list",
  };
}

async function ruleLines(
  { options }: Invocation,
  desired: DesiredWay,
  way: KernelWay,
  address: Address,
): Promise<TraceLine[]> {
  const { network } = storeIdentity(storeOptions(optionsOfNetwork(options, desired.name)));
  try {
    return await rulesOnWay(new HookScanner(ruleNames(ruleSuffix(network)), { withNat: true }), desired, way, address);
  } catch (error) {
    return [{ station: "rules", text: `the rules cannot be read: ${describeError(error)}`, verdict: "unknown" }];
  }
}

type Live =
  | { readonly judgement: Judgement; readonly output: NonNullable<NetworkTrace["live"]> }
  | { readonly problem: string };

function troubleText({ text, desired }: TraceLine): string {
  return desired === undefined ? text : `${text}, desired is ${desired}`;
}

/** By what packets look like outside of the tunnel. */
function outsideOf({ carriedBy }: DesiredWay, { outside }: KernelWay): Pick<LiveOptions, "carriedBy" | "outside"> {
  return {
    ...(carriedBy !== undefined && { carriedBy }),
    ...(outside !== undefined && { outside: outside.address }),
  };
}

async function tryLive(
  { signal }: Invocation,
  desired: DesiredWay,
  way: KernelWay,
  address: Address,
  { asContainer, hasRemedy }: { readonly asContainer: boolean; readonly hasRemedy: boolean },
): Promise<Live> {
  const { outDevice, outside } = way;
  const devices = [outDevice, outside?.device, way.inside?.device].filter((device) => device !== undefined);
  try {
    await using container = asContainer ? await standIn(desired, way, address) : undefined;
    const source = container?.address ?? bridgeAddress(desired, way);
    using sender =
      container === undefined ? hostSender(address, source, TRACE_MARK) : containerSender(address, container);
    const names = new Map([...way.deviceNames, ...(container?.deviceNames ?? [])]);
    const [live, peer] = await Promise.all([
      runLiveTest({
        ...{ target: address, devices, signal, sender, nameOf: (index) => names.get(index) ?? `device ${index}` },
        ...outsideOf(desired, way),
      }),
      askPeer(desired, address, signal),
    ]);
    const isWell = live.rttsMs.length > 0;
    const fullSize = isWell ? await askFullSize(desired, address, signal) : undefined;
    const stations = {
      ...(outDevice !== undefined && { outDevice }),
      ...(outside !== undefined && { outside }),
      ...(container !== undefined && way.bridge !== undefined && { bridge: way.bridge.name }),
    };
    const judgement = judge({
      desired,
      live,
      peer,
      hasRemedy,
      ...stations,
      ...(fullSize !== undefined && { fullSize }),
    });
    return {
      judgement,
      output: liveOutput(live, judgement, peer, {
        source,
        fullSize,
        from: container === undefined ? "host" : "container",
      }),
    };
  } catch (error) {
    if (signal.aborted || hasCode(error, "USAGE")) throw error;
    return { problem: describeError(error) };
  }
}

function liveOutput(
  live: LiveResult,
  { hops }: Judgement,
  peer: readonly PeerAnswer[],
  {
    source,
    fullSize,
    from,
  }: {
    readonly source: Address | undefined;
    readonly fullSize: FullSize | undefined;
    readonly from: "host" | "container";
  },
): NonNullable<NetworkTrace["live"]> {
  const { sent, packetBytes, rttsMs, points, drops, errors, grown, gaps } = live;
  const median = rttsMs.toSorted((a, b) => a - b)[rttsMs.length >> 1];
  return {
    from,
    ...(source !== undefined && { source }),
    ...{ packetBytes, sent, answered: rttsMs.length },
    ...(median !== undefined && { rttSeconds: Math.round(median * 1_000) / 1_000_000 }),
    ...{ hops: [...hops], points: [...points], drops: [...drops], errors: [...errors] },
    ...{ grown: [...grown], gaps: [...gaps], peer: [...peer] },
    ...(fullSize !== undefined && { fullSize }),
  };
}

/** Throws `USAGE` where no container could be. */
async function standIn(desired: DesiredWay, { bridge }: KernelWay, address: Address): Promise<ScratchContainer> {
  const subnet = (desired.ownSubnets as Prefix[]).find((own) => familyOf(own) === familyOf(address));
  if (familyOf(address) === 6) throw new FlannelError("USAGE", "--as-container works with IPv4 alone");
  if (bridge === undefined || subnet === undefined) {
    throw new FlannelError("USAGE", "--as-container needs the bridge of this host's containers: there is none yet");
  }
  return await ScratchContainer.open({ bridge, subnet, mtuBytes: bridge.mtuBytes });
}

/** That of the bridge, where it has one: then the peer has to route our subnet back, as for containers. */
function bridgeAddress({ place }: DesiredWay, { inside }: KernelWay): Address | undefined {
  return place === "peer" ? inside?.address : undefined;
}

/** The peer's host from the outside in, as `flannelctl ping` asks it. */
async function askPeer(desired: DesiredWay, address: Address, signal: AbortSignal): Promise<PeerAnswer[]> {
  const { lease, outside, place, carriedBy } = desired;
  if (place !== "peer" || lease === undefined) return [];
  const host = tryParseAddress(outside?.address ?? lease.publicIp ?? lease.publicIpv6 ?? "");
  const subnet = ([lease.subnet, lease.ipv6Subnet] as (Prefix | undefined)[]).find(
    (prefix) => prefix !== undefined && containsAddress(prefix, address),
  );
  if (subnet === undefined) return [];
  const [tunnel, bridge] = [prefixAddress(subnet), addToAddress(prefixAddress(subnet), 1n)];
  const hasTunnel = carriedBy !== undefined && ["vxlan", "udp", "wireguard", "ipip"].includes(carriedBy);
  const alsoFrom = host === undefined ? {} : { alsoFrom: host };
  const legs: PingLeg[] = [
    ...(host === undefined ? [] : [{ name: "underlay", kind: "underlay", target: host } as const]),
    ...(hasTunnel ? [{ name: "tunnel", kind: "tunnel", target: tunnel, ...alsoFrom } as const] : []),
    { name: "bridge", kind: "bridge", target: bridge },
  ];
  const openPort = (family: 4 | 6) => EchoSocket.open(family, MARK_OF_A_PERSON);
  const results = await pingLegs({ legs, count: PEER_COUNT, timeoutMs: PEER_TIMEOUT_MS, openPort, signal });
  return results.map(({ leg: { name, target }, sent, rttsMs }) => ({ name, target, sent, answered: rttsMs.length }));
}

type FullSize = NonNullable<NonNullable<NetworkTrace["live"]>["fullSize"]>;

async function askFullSize(
  { mtuBytes }: DesiredWay,
  address: Address,
  signal: AbortSignal,
): Promise<FullSize | undefined> {
  if (mtuBytes === undefined) return undefined;
  const openPort = (family: 4 | 6) => EchoSocket.open(family, MARK_OF_A_PERSON);
  const legs: PingLeg[] = [{ name: "container", kind: "bridge", target: address }];
  const [result] = await pingLegs({
    ...{ legs, count: FULL_SIZE_COUNT, packetBytes: mtuBytes, timeoutMs: PEER_TIMEOUT_MS, openPort, signal },
  });
  return result === undefined ? undefined : { bytes: mtuBytes, sent: result.sent, answered: result.rttsMs.length };
}
