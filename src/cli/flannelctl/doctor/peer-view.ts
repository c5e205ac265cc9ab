// What this host sees of each other one, for another host that asked: its agent's peers, short, the worst first.
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { type NetworkStatus, statusSchema } from "../../../agent/control/control-protocol.ts";
import type { Peer } from "../../../agent/control/journal-protocol.ts";
import { peersRequest } from "../commands/peers.ts";
import { sortPeers } from "../commands/peers-view.ts";
import { askAgent } from "../session/control-client.ts";
import type { PeerView, SeenPeer } from "../session/doctor-output.ts";
import type { Invocation } from "../session/invocation.ts";
import { ofNamedNetwork, statusOfNamedNetwork } from "../session/one-network.ts";

/** Of all networks together: a whole report has to fit into 512 KiB (flannel-store/membership/examinations.ts). */
const MAX_VIEW_BYTES = 256 * 1_024;
const MAX_REASON_LENGTH = 200;
const WITHIN_MS = 2_400;

/** Rejects as `askAgent` does. */
export async function viewOfPeers({ options, signal }: Invocation): Promise<PeerView[]> {
  const request = { method: "GET", path: controlPaths.status, schema: statusSchema, timeoutMs: WITHIN_MS } as const;
  const [own, others] = await Promise.all([
    askAgent(options.socketPaths, request, signal),
    askAgent(options.socketPaths, { ...peersRequest, timeoutMs: WITHIN_MS }, signal),
  ]);
  const status = new Map(statusOfNamedNetwork(own, options).networks.map((network) => [network.name, network]));
  const { networks } = ofNamedNetwork(others, options);
  const bytes = MAX_VIEW_BYTES / Math.max(1, networks.length);
  return networks.map(({ name, peers }) => shortView(status.get(name) ?? { name }, peers, bytes));
}

/** As many of the worst as fit into `bytes`. */
export function shortView(
  { name, lease, probes }: Pick<NetworkStatus, "name"> & Partial<Pick<NetworkStatus, "lease" | "probes">>,
  peers: readonly Peer[],
  bytes: number,
): PeerView {
  const directions = new Map((probes?.paths ?? []).map(({ peer, direction }) => [peer, direction]));
  const seen: SeenPeer[] = [];
  let left = bytes;
  for (const peer of sortPeers(peers, "state")) {
    const short = shortPeer(peer, directions.get(peer.key));
    left -= Buffer.byteLength(JSON.stringify(short)) + 1;
    if (left < 0) break;
    seen.push(short);
  }
  return {
    network: name,
    ...(lease !== undefined && { lease: lease.key }),
    peers: seen,
    morePeers: peers.length - seen.length,
  };
}

function shortPeer(peer: Peer, direction: SeenPeer["direction"]): SeenPeer {
  const { key, state, reason, stateSince, rttSeconds, lossRatio, mtuBytes } = peer;
  const isFine = state === "up" || state === "programmed";
  return {
    ...{ key, state },
    ...(state === "oneWay" && direction !== undefined && { direction }),
    ...(!isFine && reason !== undefined && { reason: reason.slice(0, MAX_REASON_LENGTH) }),
    ...(!isFine && stateSince !== undefined && { since: stateSince }),
    ...(rttSeconds !== undefined && { rttSeconds: rttSeconds.p50 }),
    ...(lossRatio !== undefined && { lossRatio }),
    ...(mtuBytes !== undefined && { mtuBytes }),
  };
}
