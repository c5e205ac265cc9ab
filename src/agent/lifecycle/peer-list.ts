// The peers of a network one by one: what their leases say, whether the kernel has them, what was carried.
import type { Lease } from "../../lease/lease.ts";
import type { Peer } from "../control/journal-protocol.ts";
import type { Agent } from "./agent.ts";

export function listPeers({ table, network }: Agent): Peer[] {
  const skipped = new Map((network?.plan.skipped ?? []).map(({ key, reason }) => [key, reason]));
  const traffic = new Map((network?.dataPlane()?.peers ?? []).map((peer) => [peer.key, peer]));
  return table.peers().map((lease) => {
    const { receivedBytes, sentBytes, endpoint, lastHandshakeAt } = traffic.get(lease.key) ?? {};
    const reason = skipped.get(lease.key);
    const { isPending = true, changedAtMs, programmedAtMs } = network?.programming.of(lease.key) ?? {};
    return {
      ...leaseFields(lease),
      revision: String(lease.revision),
      state: reason === undefined ? (isPending ? "pending" : "programmed") : "skipped",
      ...(reason !== undefined && { reason }),
      ...(receivedBytes !== undefined && { receivedBytes }),
      ...(sentBytes !== undefined && { sentBytes }),
      ...(endpoint !== undefined && { endpoint }),
      ...(lastHandshakeAt !== undefined && { lastHandshakeAt }),
      ...(network !== undefined && reason === undefined && { mtuBytes: network.mtuBytes }),
      ...(changedAtMs !== undefined && { changedAt: new Date(changedAtMs).toISOString() }),
      ...(programmedAtMs !== undefined && { programmedAt: new Date(programmedAtMs).toISOString() }),
    };
  });
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
