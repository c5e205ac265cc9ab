// Metrics of what probes found, read when asked for.
import { type ProbeSummary, worstOf } from "../../probe/probe-summary.ts";
import { type PathState, pathStates } from "../../probe/probed-path.ts";
import type { ProbedPeer } from "../../probe/probed-peer.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";

const reached: ReadonlySet<PathState> = new Set(["up", "slow", "mtuBroken"]);

export function recordProbeStates(
  metrics: MetricsRecorder,
  { states }: ProbeSummary,
  peers: readonly ProbedPeer[],
): void {
  metrics.replace(
    "flannel_peers",
    pathStates.map((state) => ({ labels: { state }, value: states[state] })),
  );
  recordPathMtu(metrics, peers);
  if (!metrics.isPerPeer) return;
  const values = (of: (peer: ProbedPeer) => number | undefined) =>
    peers.flatMap((peer) => {
      const value = of(peer);
      return value === undefined ? [] : [{ labels: { peer: peer.key }, value }];
    });
  metrics.replace("flannel_peer_up", values(upOf));
  metrics.replace("flannel_peer_rtt_seconds", values(rttOf));
  metrics.replace("flannel_peer_loss_ratio", values(lossOf));
}

function recordPathMtu(metrics: MetricsRecorder, peers: readonly ProbedPeer[]): void {
  let least: number | undefined;
  let reduced = 0;
  for (const { paths } of peers) {
    const known = paths.flatMap(({ path, mtu: { found } }) => (found === undefined ? [] : [{ path, found }]));
    for (const { found } of known) least = Math.min(least ?? found.wholeBytes, found.wholeBytes);
    if (known.some(({ path, found }) => found.wholeBytes < path.overlayMtuBytes)) reduced++;
  }
  metrics.set("flannel_path_mtu_min_bytes", {}, least);
  metrics.set("flannel_peers_mtu_reduced", {}, reduced);
}

function upOf({ paths }: ProbedPeer): number | undefined {
  const state = worstOf(paths.map((path) => path.state));
  return state === "unknown" ? undefined : Number(reached.has(state));
}

/** Of two families the slower one. */
function rttOf({ paths }: ProbedPeer): number | undefined {
  const all = paths.flatMap(({ quality }) => quality.summary().rttMs?.p50 ?? []);
  return all.length === 0 ? undefined : Math.max(...all) / 1_000;
}

function lossOf({ paths }: ProbedPeer): number | undefined {
  const qualities = paths.map(({ quality }) => quality.summary());
  const sent = qualities.reduce((sum, quality) => sum + quality.sent, 0);
  const lost = qualities.reduce((sum, quality) => sum + quality.lost, 0);
  return sent === 0 ? undefined : lost / sent;
}
