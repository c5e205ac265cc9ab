// The peers of a network one by one: what their leases say, whether the kernel has them, what was carried.
import type { Lease } from "../../lease/lease.ts";
import type { NetworkStatus } from "../control/control-protocol.ts";
import type { Peer } from "../control/journal-protocol.ts";
import type { Agent } from "./agent.ts";
import type { Network } from "./network.ts";

export function listPeers({ table, network }: Agent): Peer[] {
  const skipped = new Map((network?.plan.skipped ?? []).map(({ key, reason }) => [key, reason]));
  const traffic = new Map((network?.dataPlane()?.peers ?? []).map((peer) => [peer.key, peer]));
  const probed = worstPaths(network);
  return table.peers().map((lease) => {
    const { receivedBytes, sentBytes, endpoint, lastHandshakeAt } = traffic.get(lease.key) ?? {};
    const reason = skipped.get(lease.key);
    const { isPending = true, changedAtMs, programmedAtMs } = network?.programming.of(lease.key) ?? {};
    return {
      ...leaseFields(lease),
      revision: String(lease.revision),
      ...(reason === undefined
        ? reached(isPending ? "pending" : "programmed", probed.get(lease.key))
        : { state: "skipped" as const, reason }),
      ...(receivedBytes !== undefined && { receivedBytes }),
      ...(sentBytes !== undefined && { sentBytes }),
      ...(endpoint !== undefined && { endpoint }),
      ...(lastHandshakeAt !== undefined && { lastHandshakeAt }),
      ...(network !== undefined &&
        reason === undefined && { mtuBytes: probed.get(lease.key)?.routeMtuBytes ?? network.mtuBytes }),
      ...(changedAtMs !== undefined && { changedAt: new Date(changedAtMs).toISOString() }),
      ...(programmedAtMs !== undefined && { programmedAt: new Date(programmedAtMs).toISOString() }),
    };
  });
}

type Probes = NonNullable<NetworkStatus["probes"]>;
type ProbedPath = Probes["paths"][number];

/** Of each peer that is probed the worse of its address families, which stands first. */
function worstPaths(network: Network | undefined): ReadonlyMap<string, ProbedPath> {
  const paths = new Map<string, ProbedPath>();
  for (const path of network?.checks.probes?.status().paths ?? []) {
    if (!paths.has(path.peer)) paths.set(path.peer, path);
  }
  return paths;
}

/** What the kernel lacks cannot be reached: probes say something of a peer that it has. */
function reached(inKernel: "pending" | "programmed", path: ProbedPath | undefined) {
  if (path === undefined || inKernel === "pending") return { state: inKernel };
  const { state, since, why, rttSeconds, sent, lost } = path;
  return {
    state,
    stateSince: since,
    ...(why !== undefined && { reason: why }),
    ...(rttSeconds !== undefined && { rttSeconds }),
    ...(sent > 0 && { lossRatio: lost / sent }),
  };
}

function leaseFields({ key, subnet, ipv6Subnet, attributes }: Lease) {
  const { publicIp, publicIpv6, backendType } = attributes;
  return {
    key,
    ...(subnet !== undefined && { subnet }),
    ...(ipv6Subnet !== undefined && { ipv6Subnet }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
    ...(backendType !== undefined && { backendType }),
  };
}
