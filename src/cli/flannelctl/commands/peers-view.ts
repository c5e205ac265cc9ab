// The table of peers. Pure.
import type { Peer } from "../../../agent/control/journal-protocol.ts";
import { formatAgo, formatTable, type Paint } from "../../../terminal/text.ts";

export const peerOrders = ["state", "name", "rtt", "loss", "mtu", "bytes", "changed"] as const;
export type PeerOrder = (typeof peerOrders)[number];

/** Worst first. */
const stateOrder: readonly Peer["state"][] = [
  ...(["down", "oneWay", "mtuBroken", "suspect", "pending", "skipped", "slow", "unknown", "programmed", "up"] as const),
];

const NONE = "-";

const compare: Readonly<Record<PeerOrder, (a: Peer, b: Peer) => number>> = {
  state: (a, b) => stateOrder.indexOf(a.state) - stateOrder.indexOf(b.state),
  name: () => 0,
  rtt: (a, b) => (b.rttSeconds?.p50 ?? -1) - (a.rttSeconds?.p50 ?? -1),
  loss: (a, b) => (b.lossRatio ?? -1) - (a.lossRatio ?? -1),
  mtu: (a, b) => (a.mtuBytes ?? Number.POSITIVE_INFINITY) - (b.mtuBytes ?? Number.POSITIVE_INFINITY),
  bytes: (a, b) => bytesOf(b) - bytesOf(a),
  changed: (a, b) => (b.changedAt ?? "").localeCompare(a.changedAt ?? ""),
};

export function sortPeers(peers: readonly Peer[], order: PeerOrder): Peer[] {
  const byName = new Intl.Collator("en", { numeric: true });
  return peers.toSorted((a, b) => compare[order](a, b) || byName.compare(a.key, b.key));
}

function bytesOf({ receivedBytes = 0, sentBytes = 0 }: Peer): number {
  return receivedBytes + sentBytes;
}

export interface PeerTableOptions {
  readonly wide: boolean;
  readonly nowMs: number;
}

export function peerTable(peers: readonly Peer[], paint: Paint, { wide, nowMs }: PeerTableOptions): string[] {
  const headings = ["PEER", "HOST", "STATE", "RTT", "LOSS", "MTU", "RECEIVED", "SENT", "CHANGED"];
  const more = ["SUBNETS", "BACKEND", "REVISION", "RTT P99", "ENDPOINT", "HANDSHAKE", "SINCE", "WHY"];
  const rows = peers.map((peer) => [...plainCells(peer, nowMs), ...(wide ? wideCells(peer, nowMs) : [])]);
  const [heading = "", ...lines] = formatTable([...headings, ...(wide ? more : [])], rows);
  return [paint.bold(heading), ...lines.map((line, index) => coloured(line, peers[index]?.state, paint))];
}

function plainCells(peer: Peer, nowMs: number): string[] {
  return [
    peer.key,
    peer.publicIp ?? peer.publicIpv6 ?? NONE,
    peer.state,
    duration(peer.rttSeconds?.p50),
    peer.lossRatio === undefined ? NONE : `${(peer.lossRatio * 100).toFixed(peer.lossRatio > 0 ? 1 : 0)} %`,
    peer.mtuBytes === undefined ? NONE : String(peer.mtuBytes),
    bytes(peer.receivedBytes),
    bytes(peer.sentBytes),
    ago(peer.changedAt, nowMs),
  ];
}

function wideCells(peer: Peer, nowMs: number): string[] {
  return [
    [peer.subnet, peer.ipv6Subnet].filter((subnet) => subnet !== undefined).join(","),
    peer.backendType ?? NONE,
    peer.revision,
    duration(peer.rttSeconds?.p99),
    peer.endpoint ?? NONE,
    ago(peer.lastHandshakeAt, nowMs),
    ago(peer.stateSince, nowMs),
    peer.reason ?? NONE,
  ];
}

function coloured(line: string, state: Peer["state"] | undefined, paint: Paint): string {
  if (state === "down" || state === "oneWay") return paint.bad(line);
  return state === "up" || state === "programmed" ? line : paint.warn(line);
}

function duration(seconds: number | undefined): string {
  if (seconds === undefined) return NONE;
  const ms = seconds * 1_000;
  return ms < 10 ? `${ms.toFixed(2)} ms` : ms < 1_000 ? `${ms.toFixed(0)} ms` : `${seconds.toFixed(1)} s`;
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

function bytes(number: number | undefined): string {
  if (number === undefined) return NONE;
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, number)) / 10)));
  const value = number / 1024 ** power;
  return `${power === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[power] ?? ""}`;
}

function ago(instant: string | undefined, nowMs: number): string {
  return instant === undefined ? NONE : formatAgo(instant, nowMs);
}
