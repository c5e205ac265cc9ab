// What the status tells of probes. Pure.
import type { PathMtuFound } from "../../probe/path-mtu.ts";
import type { ProbeSummary } from "../../probe/probe-summary.ts";
import type { ProbedNetwork } from "../../probe/probed-network.ts";
import { type PathState, type ProbedPath, pathStates } from "../../probe/probed-path.ts";
import type { NetworkStatus } from "../control/control-protocol.ts";

type ProbesStatus = NonNullable<NetworkStatus["probes"]>;

/** Worst first; of more than these the others are alike. */
const MOST_PATHS = 10_000;
const worst: readonly PathState[] = ["down", "oneWay", "suspect", "mtuBroken", "slow", "unknown", "up"];

export function probeStatus(network: ProbedNetwork, { states }: ProbeSummary, intervalMs: number): ProbesStatus {
  const paths = network.peers.flatMap((peer) => peer.paths);
  const problems = new Set(
    paths.map(({ path }) => network.problem(path.family)).filter((problem) => problem !== undefined),
  );
  const sorted = worst.flatMap((state) => paths.filter((path) => path.state === state)).slice(0, MOST_PATHS);
  return {
    intervalSeconds: intervalMs / 1_000,
    ...(problems.size > 0 && { problem: [...problems].join("; ") }),
    states: Object.fromEntries(pathStates.map((state) => [state, states[state]])) as ProbesStatus["states"],
    paths: sorted.map(pathStatus),
  };
}

function pathStatus(probed: ProbedPath): ProbesStatus["paths"][number] {
  const { path, state, verdict, quality, why, lastReplyWallMs } = probed;
  const { sent, lost, rttMs, usualRttMs } = quality.summary();
  return {
    peer: path.peer,
    subnet: path.subnet,
    ...(path.underlay !== undefined && { publicIp: path.underlay }),
    state,
    ...(state === "oneWay" && { direction: verdict.liveness === "oneWayOut" ? "out" : "in" }),
    since: new Date(probed.sinceWallMs).toISOString(),
    ...(why !== undefined && { why }),
    signature: probed.signature,
    sent,
    lost,
    ...(rttMs !== undefined && { rttSeconds: { p50: seconds(rttMs.p50), p99: seconds(rttMs.p99) } }),
    ...(usualRttMs !== undefined && { usualRttSeconds: seconds(usualRttMs) }),
    ...(probed.mtu.found !== undefined && { mtu: mtuStatus(probed.mtu.found) }),
    ...(probed.routeMtuBytes !== undefined && { routeMtuBytes: probed.routeMtuBytes }),
    ...(lastReplyWallMs !== undefined && { lastReplyAt: new Date(lastReplyWallMs).toISOString() }),
  };
}

function mtuStatus({ underlayBytes, overlayBytes, wholeBytes, foundAtMs }: PathMtuFound) {
  return {
    ...(underlayBytes !== undefined && { underlayBytes }),
    overlayBytes,
    wholeBytes,
    ageSeconds: Math.max(0, Math.round((performance.now() - foundAtMs) / 1_000)),
  };
}

function seconds(ms: number): number {
  return Math.round(ms * 1_000) / 1_000_000;
}
