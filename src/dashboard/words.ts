// Values as the page writes them, and what states are called. Pure.
import { count, formatDuration } from "../terminal/text.ts";
import type { CellUse, PeerItem, PeerState } from "./messages.ts";

export interface StateWords {
  readonly name: string;
  /** Told apart without colours. */
  readonly glyph: string;
  readonly tone: Tone;
  readonly meaning: string;
}

export type Tone = "good" | "plain" | "warn" | "bad" | "none";

/** Worst first. */
export const peerStates: Readonly<Record<PeerState, StateWords>> = {
  down: { name: "down", glyph: "✕", tone: "bad", meaning: "no probe is answered" },
  oneWay: { name: "one way", glyph: "⇥", tone: "bad", meaning: "packets arrive in one direction alone" },
  mtuBroken: { name: "MTU broken", glyph: "▭", tone: "bad", meaning: "small packets arrive, large ones do not" },
  suspect: { name: "suspect", glyph: "!", tone: "warn", meaning: "the last probes were lost" },
  pending: { name: "pending", glyph: "…", tone: "warn", meaning: "not in the kernel yet" },
  skipped: { name: "skipped", glyph: "–", tone: "none", meaning: "this host does not serve it" },
  slow: { name: "slow", glyph: "≈", tone: "warn", meaning: "the round trip takes far longer than usual" },
  unknown: { name: "unknown", glyph: "?", tone: "none", meaning: "probes cannot tell" },
  programmed: { name: "programmed", glyph: "·", tone: "plain", meaning: "in the kernel; nobody probed it" },
  up: { name: "up", glyph: "✓", tone: "good", meaning: "probes are answered" },
};

const order = Object.keys(peerStates) as PeerState[];

export function stateRank(state: PeerState): number {
  return order.indexOf(state);
}

export const cellUses: Readonly<Record<CellUse, { readonly name: string; readonly glyph: string }>> = {
  own: { name: "this host", glyph: "◉" },
  leased: { name: "leased", glyph: "■" },
  reserved: { name: "reserved", glyph: "R" },
  mixed: { name: "partly used", glyph: "▒" },
  free: { name: "free", glyph: "" },
};

export function milliseconds(seconds: number | undefined): string {
  if (seconds === undefined) return "–";
  const ms = seconds * 1_000;
  return ms < 10 ? `${ms.toFixed(2)} ms` : ms < 1_000 ? `${ms.toFixed(0)} ms` : `${seconds.toFixed(1)} s`;
}

export function percent(ratio: number | undefined): string {
  return ratio === undefined ? "–" : `${(ratio * 100).toFixed(ratio > 0 ? 1 : 0)} %`;
}

/** `1450`, or how much less than the route says the path carries. */
export function mtu({ mtuBytes, pathMtu }: Pick<PeerItem, "mtuBytes" | "pathMtu">): string {
  if (pathMtu === undefined) return mtuBytes === undefined ? "–" : String(mtuBytes);
  if (mtuBytes !== undefined && pathMtu.overlayBytes < mtuBytes) return `${pathMtu.overlayBytes} of ${mtuBytes}`;
  return String(mtuBytes ?? pathMtu.overlayBytes);
}

/** Whether packets are lost or fragmented because of their size. */
export function mtuTone({ mtuBytes, pathMtu }: Pick<PeerItem, "mtuBytes" | "pathMtu">): Tone {
  if (pathMtu === undefined || mtuBytes === undefined) return "none";
  if (pathMtu.overlayBytes < mtuBytes) return "bad";
  return pathMtu.wholeBytes < mtuBytes ? "warn" : "good";
}

export function rttTone(seconds: number | undefined): Tone {
  if (seconds === undefined) return "none";
  return seconds <= 0.005 ? "good" : seconds <= 0.02 ? "plain" : seconds <= 0.1 ? "warn" : "bad";
}

export function lossTone(ratio: number | undefined): Tone {
  if (ratio === undefined) return "none";
  return ratio === 0 ? "good" : ratio < 0.01 ? "plain" : ratio < 0.1 ? "warn" : "bad";
}

export function bytes(number: number | undefined): string {
  if (number === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, number)) / 10)));
  const value = number / 1024 ** power;
  return `${power === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[power] ?? ""}`;
}

/** `12 s ago`; `now` within two seconds. */
export function ago(instant: string | undefined, nowMs: number): string {
  const atMs = Date.parse(instant ?? "");
  if (Number.isNaN(atMs)) return "–";
  const seconds = (nowMs - atMs) / 1_000;
  return seconds < 2 ? "now" : `${formatDuration(seconds)} ago`;
}

/** `in 23 h 4 min`. */
export function until(instant: string | undefined, nowMs: number): string {
  const atMs = Date.parse(instant ?? "");
  if (Number.isNaN(atMs)) return "–";
  return atMs <= nowMs ? "expired" : `in ${formatDuration((atMs - nowMs) / 1_000)}`;
}

/** One sentence, for those who hear the page. */
export function describePeer(peer: PeerItem): string {
  const { name } = peerStates[peer.state];
  const parts = [
    `${peer.key}, host ${peer.host ?? "unknown"}: ${name}`,
    ...(peer.reason === undefined ? [] : [peer.reason]),
    ...(peer.rttSeconds === undefined ? [] : [`round trip ${milliseconds(peer.rttSeconds.p50)}`]),
    ...(peer.lossRatio === undefined ? [] : [`loss ${percent(peer.lossRatio)}`]),
    ...(peer.mtuBytes === undefined ? [] : [`MTU ${mtu(peer)}`]),
  ];
  return parts.join(", ");
}

/** `3 up, 1 down`: the worst first. */
export function countStates(peers: Iterable<PeerItem>): readonly (readonly [PeerState, number])[] {
  const counts = new Map<PeerState, number>();
  for (const { state } of peers) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => stateRank(a) - stateRank(b));
}

export function describeCounts(counts: readonly (readonly [PeerState, number])[]): string {
  return counts.map(([state, number]) => `${number} ${peerStates[state].name}`).join(", ") || count(0, "peer");
}
