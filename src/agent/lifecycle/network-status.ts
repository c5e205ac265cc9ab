// What the agent tells about one network.
import type { AgentOptions } from "../../config/agent-options.ts";
import type { Lease } from "../../lease/lease.ts";
import type { NetworkStatus } from "../control/control-protocol.ts";
import type { Agent } from "./agent.ts";
import type { Network } from "./network.ts";

/** By it people, the status and metrics tell networks apart. */
export function networkNameOf({ networkName, store, etcd, kubernetes }: AgentOptions): string {
  if (networkName !== undefined) return networkName;
  return store === "kubernetes" ? kubernetes.annotationPrefix : etcd.prefix;
}

/** `agent` is missing before the first one has started. */
export function networkStatus(agent: Agent | undefined, options: AgentOptions): NetworkStatus {
  const { network, ownLease: own, config, table } = agent ?? {};
  const hasAnswered = agent?.storeView.ageMs !== undefined;
  return {
    name: networkNameOf(options),
    subnetFile: options.subnetFile,
    ...(config !== undefined && { backendType: config.backendType }),
    ...(network !== undefined && { externalInterface: describeInterface(network), mtuBytes: network.mtuBytes }),
    ...(own !== undefined && { lease: describeLease(own, agent?.leaseExpiresAtMs) }),
    warmStart: agent?.isWarmStart ?? false,
    ...(hasAnswered && { revision: String(table?.revision) }),
    unreadableKeys: table?.unreadable() ?? [],
    peers: {
      known: table?.peers().length ?? 0,
      desired: network?.plan.plannedPeers ?? 0,
      programmed: network?.programmedPeers ?? 0,
      skipped: (network?.plan.skipped ?? []).map(({ key, reason }) => ({ key, reason })),
    },
    failures: [
      ...(network?.hostFailures ?? []).map(({ object, error, attempts, scope }) => ({
        object,
        error,
        attempts,
        scope,
      })),
      ...(network?.firewall.status().failures ?? []),
    ],
    repairs: mergeRepairs(network?.reconciler.status().repairs, network?.firewall.status().repairs),
    ...(network?.checks.probes !== undefined && { probes: network.checks.probes.status() }),
    ...(network !== undefined && { rules: describeRules(network, options), ...describeDataPlane(network) }),
  };
}

function describeRules(network: Network, options: AgentOptions): NonNullable<NetworkStatus["rules"]> {
  const { mode, reason, warnings } = network.firewall.status();
  const { forward } = options.rules;
  return { mode, reason, masquerade: network.isMasqueraded, forward, warnings: [...warnings] };
}

type Repairs = NetworkStatus["repairs"];
interface FoundRepairs {
  readonly total: number;
  readonly last: readonly { readonly at: string; readonly object: string; readonly action: string }[];
}
const REPAIRS_SHOWN = 20;

function mergeRepairs(...parts: readonly (FoundRepairs | undefined)[]): Repairs {
  const known = parts.filter((part) => part !== undefined);
  const last = known.flatMap((part) => part.last).sort((a, b) => a.at.localeCompare(b.at));
  return {
    total: known.reduce((sum, part) => sum + part.total, 0),
    last: last.slice(-REPAIRS_SHOWN).map(({ at, object, action }) => ({ repairedAt: at, object, action })),
  };
}

function describeDataPlane(network: Network): Pick<NetworkStatus, "dataPlane"> {
  const status = network.dataPlane();
  if (status === undefined) return {};
  const { features, carried, dropped, peers, staticPeers } = status;
  const problem = network.dataPlaneProblem;
  return {
    dataPlane: {
      ...(problem !== undefined && { problem }),
      ...(features !== undefined && { features }),
      carried,
      dropped,
      peers: [...peers],
      ...(staticPeers !== undefined && {
        staticPeers: staticPeers.map((peer) => ({ ...peer, allowedIps: [...peer.allowedIps] })),
      }),
    },
  };
}

function describeInterface(network: Network): NonNullable<NetworkStatus["externalInterface"]> {
  const { name, mtuBytes, address, ipv6Address, publicIp, publicIpv6 } = network.facts.externalInterface;
  return {
    name,
    mtuBytes,
    ...(address !== undefined && { address }),
    ...(ipv6Address !== undefined && { ipv6Address }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
  };
}

export function describeLease(lease: Lease, expiresAtMs: number | undefined): NonNullable<NetworkStatus["lease"]> {
  const { publicIp, publicIpv6, backendType } = lease.attributes;
  return {
    key: lease.key,
    reserved: lease.isReservation,
    ...(lease.subnet !== undefined && { subnet: lease.subnet }),
    ...(lease.ipv6Subnet !== undefined && { ipv6Subnet: lease.ipv6Subnet }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
    ...(backendType !== undefined && { backendType }),
    ...(expiresAtMs !== undefined && { expiresAt: new Date(expiresAtMs).toISOString() }),
  };
}
