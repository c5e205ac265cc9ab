// One network of a status, as people read it. Pure.
import type { NetworkStatus } from "../../../agent/control/control-protocol.ts";
import { backends } from "../../../backend/registry.ts";
import { formatAgo, formatDuration, formatTable } from "../../../terminal/text.ts";

const longestList = 10;

export function networkPairs(network: NetworkStatus, nowMs: number): [string, string | undefined][] {
  const { repairs, mtuBytes, backendType } = network;
  const mtu = mtuBytes === undefined ? "" : `, MTU ${mtuBytes}`;
  return [
    ["lease", describeLease(network, nowMs)],
    ["backend", backendType === undefined ? undefined : `${backendType}${mtu}`],
    ["interface", describeInterface(network)],
    ["peers", describePeers(network)],
    ["probes", describeProbes(network)],
    ["rules", describeRules(network)],
    ...dataPlane(network),
    ["repairs", repairs.total === 0 ? "none" : String(repairs.total)],
    ["subnet file", network.subnetFile],
  ];
}

/** What is wrong with single peers and objects, and what was put right; each left out when there is nothing. */
export function networkSections(network: NetworkStatus, nowMs: number): string[] {
  const { peers, unreadableKeys, failures, repairs } = network;
  return [
    ...section(
      "skipped peers",
      peers.skipped.map((peer) => [peer.key, peer.reason]),
    ),
    ...section(
      "peers by probes",
      (network.probes?.paths ?? [])
        .filter((path) => path.state !== "up" || isCut(path, network))
        .map((path) => probeRow(path, network, nowMs)),
    ),
    ...section(
      "peers by handshake",
      (network.dataPlane?.peers ?? [])
        .filter(({ endpoint, association }) => endpoint !== undefined && association === undefined)
        .map((peer) => handshakeRow(peer, nowMs)),
    ),
    ...section(
      "security associations",
      (network.dataPlane?.peers ?? []).flatMap((peer) => associationRow(peer, nowMs)),
    ),
    ...section(
      "static peers",
      (network.dataPlane?.staticPeers ?? []).map(({ name, allowedIps, endpoint = "has not called yet", ...peer }) => [
        name,
        ...handshakeRow({ ...peer, key: allowedIps.join(","), endpoint }, nowMs),
      ]),
    ),
    ...section(
      "unreadable keys in the store",
      unreadableKeys.map((key) => [key.key, key.reason]),
    ),
    ...section(
      "objects that could not be programmed",
      failures.map((failure) => [failure.object, failure.error, `tried ${failure.attempts}×`]),
    ),
    ...section(
      "last repairs",
      repairs.last.map((repair) => [formatAgo(repair.repairedAt, nowMs), repair.action, repair.object]),
    ),
  ];
}

function describePeers({ peers }: NetworkStatus): string {
  const skipped = peers.skipped.length === 0 ? "" : `, ${peers.skipped.length} skipped`;
  return `${peers.programmed} of ${peers.desired} programmed, ${peers.known} known${skipped}`;
}

const probeStates = {
  up: "up",
  slow: "slow",
  mtuBroken: "MTU broken",
  suspect: "suspect",
  oneWay: "one way",
  down: "down",
  unknown: "unknown",
} as const;

/** How many peers are in which state. */
function describeProbes({ probes }: NetworkStatus): string | undefined {
  if (probes === undefined) return undefined;
  const states = Object.entries(probes.states).filter(([, peers]) => peers > 0);
  const shown = states.map(([state, peers]) => `${peers} ${probeStates[state as keyof typeof probeStates]}`).join(", ");
  return [shown || "no peers", ...(probes.problem === undefined ? [] : [probes.problem])].join("; ");
}

type ProbedPathStatus = NonNullable<NetworkStatus["probes"]>["paths"][number];

/** Its large packets arrive in two pieces, or not at all. */
function isCut({ subnet, mtu }: ProbedPathStatus, { mtuBytes }: NetworkStatus): boolean {
  // IPv6 has less room in the same tunnel.
  const room = subnet.includes(":") ? 20 : 0;
  return mtu !== undefined && mtuBytes !== undefined && mtu.wholeBytes < mtuBytes - room;
}

function probeRow(path: ProbedPathStatus, network: NetworkStatus, nowMs: number): string[] {
  const { subnet, publicIp = "", state, since, why = "", mtu, routeMtuBytes } = path;
  const forSeconds = Math.max(0, (nowMs - Date.parse(since)) / 1000);
  const cut =
    mtu !== undefined && routeMtuBytes === undefined && isCut(path, network)
      ? `packets of more than ${mtu.wholeBytes} bytes are fragmented on the way`
      : "";
  const words = state === "mtuBroken" ? why : [why, cut].filter((text) => text !== "").join("; ");
  return [subnet, publicIp, `${probeStates[state]} for ${formatDuration(forSeconds)}`, words];
}

type PlanePeer = NonNullable<NetworkStatus["dataPlane"]>["peers"][number];

/** No handshake is normal where nothing was sent yet. */
function handshakeRow({ key, endpoint = "", lastHandshakeAt, ...counted }: PlanePeer, nowMs: number): string[] {
  const handshake = lastHandshakeAt === undefined ? "no handshake yet" : formatAgo(lastHandshakeAt, nowMs);
  return [key, endpoint, handshake, countedBytes(counted)];
}

function associationRow({ association, ...peer }: PlanePeer, nowMs: number): string[][] {
  if (association === undefined) return [];
  const keys = peer.lastHandshakeAt === undefined ? "" : `keys of ${formatAgo(peer.lastHandshakeAt, nowMs)}`;
  const { key, endpoint = "" } = peer;
  return [[key, endpoint, association, keys, countedBytes(peer)]];
}

function countedBytes({ sentBytes = 0, receivedBytes = 0 }: Pick<PlanePeer, "sentBytes" | "receivedBytes">): string {
  return `${sentBytes.toLocaleString("en")} bytes sent, ${receivedBytes.toLocaleString("en")} received`;
}

function describeRules({ rules }: NetworkStatus): string | undefined {
  if (rules === undefined) return undefined;
  const { mode, reason, masquerade, forward, warnings } = rules;
  const what = [...(masquerade ? ["masquerade"] : []), ...(forward ? ["forward"] : [])].join(" and ") || "none desired";
  return [`${what} in ${mode}: ${reason}`, ...warnings].join("; ");
}

/** What the agent carries itself: how, how much, and what it dropped and why. */
function dataPlane({ backendType, dataPlane: plane }: NetworkStatus): [string, string][] {
  if (plane === undefined) return [];
  const { features, carried, problem } = plane;
  const number = (value: number | undefined) => (value ?? 0).toLocaleString("en");
  const running = backends.find(backendType ?? "")?.describeFeatures?.(features ?? {}) ?? "running";
  if (Object.keys(carried).length === 0) return [["data plane", problem ?? running]];
  const dropped = Object.entries(plane.dropped).filter(([, packets]) => packets > 0);
  // What carries nothing itself, such as the routes of a cloud, counts nothing.
  if (Object.keys(carried).length === 0) return [["data plane", problem ?? running]];
  return [
    ["data plane", problem ?? running],
    carried["sentPackets"] === undefined
      ? ["bytes", `${number(carried["sentBytes"])} sent, ${number(carried["receivedBytes"])} received`]
      : ["packets", `${number(carried["sentPackets"])} sent, ${number(carried["receivedPackets"])} received`],
    ["dropped", dropped.map(([reason, packets]) => `${number(packets)} ${reason}`).join(", ") || "none"],
  ];
}

function describeLease({ lease, warmStart }: NetworkStatus, nowMs: number): string {
  if (lease === undefined) return "none";
  const subnets = [lease.subnet, lease.ipv6Subnet].filter((subnet) => subnet !== undefined).join(" and ");
  const remembered = warmStart ? ", remembered and not yet confirmed by the store" : "";
  if (lease.reserved) return `${subnets}, reserved${remembered}`;
  if (lease.expiresAt === undefined) return `${subnets}${remembered}`;
  return `${subnets}, ${formatExpiry((Date.parse(lease.expiresAt) - nowMs) / 1000)}${remembered}`;
}

function formatExpiry(seconds: number): string {
  return seconds > 0 ? `expires in ${formatDuration(seconds)}` : "expired";
}

function describeInterface({ externalInterface }: NetworkStatus): string | undefined {
  if (externalInterface === undefined) return undefined;
  const { name, mtuBytes, address, ipv6Address, publicIp, publicIpv6 } = externalInterface;
  const addresses = [address, ipv6Address].filter((item) => item !== undefined).join(" and ");
  const announced = [publicIp, publicIpv6].filter(
    (item) => item !== undefined && item !== address && item !== ipv6Address,
  );
  const nat = announced.length === 0 ? "" : `, announced as ${announced.join(" and ")}`;
  return `${name} ${addresses}, MTU ${mtuBytes}${nat}`;
}

function section(title: string, rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [];
  const columns = rows.map((row) => row.length).reduce((most, length) => Math.max(most, length), 0);
  const table = formatTable(new Array<string>(columns).fill(""), rows.slice(0, longestList)).slice(1);
  const more = rows.length > longestList ? [`  and ${rows.length - longestList} more (see --json)`] : [];
  return ["", `${title}:`, ...table.map((line) => `  ${line}`), ...more];
}
