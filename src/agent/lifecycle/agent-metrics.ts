// Metrics that are read from the agent when asked for, because it keeps them anyway.
import type { Finding } from "../../doctor/finding.ts";
import type { CertificateInUse } from "../../store/subnet-store.ts";
import { openDescriptors } from "../../sys/open-descriptors.ts";
import { readSysctl } from "../../sys/sysctl.ts";
import type { AgentMetricsRecorder, MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { Agent } from "./agent.ts";
import type { StateReason } from "./agent-state.ts";
import type { AgentState } from "./state-reasons.ts";

const states: readonly AgentState[] = ["ready", "degraded", "notReady"];
const firewallModes = ["nftables", "iptables-nft", "iptables-legacy", "none"] as const;

export interface AgentFacts {
  readonly version: string;
  readonly startedAt: Date;
  /** As reported. */
  readonly state: AgentState;
  readonly reasons: readonly StateReason[];
  readonly findings: readonly Finding[];
  readonly certificates: readonly CertificateInUse[];
}

/** What concerns the agent as a whole. */
export function recordAgent(metrics: AgentMetricsRecorder, facts: AgentFacts): void {
  const { version, startedAt, state, reasons, findings, certificates } = facts;
  metrics.set("flannel_build_info", { version, node_version: process.version }, 1);
  metrics.set("flannel_ready", {}, state === "ready" ? 1 : 0);
  metrics.replace(
    "flannel_state",
    states.map((one) => ({ labels: { state: one }, value: one === state ? 1 : 0 })),
  );
  const names = new Set(reasons.map(({ name }) => name));
  metrics.replace(
    "flannel_reasons",
    [...names].map((reason) => ({ labels: { reason }, value: 1 })),
  );
  metrics.replace("flannel_findings", counted(findings));
  metrics.replace("flannel_certificate_expires_timestamp_seconds", soonest(certificates));
  const { user, system } = process.cpuUsage();
  metrics.total("process_cpu_seconds_total", {}, (user + system) / 1e6);
  metrics.set("process_resident_memory_bytes", {}, process.memoryUsage.rss());
  metrics.set("process_start_time_seconds", {}, startedAt.getTime() / 1_000);
  const { open, most } = openDescriptors();
  metrics.set("process_open_fds", {}, open);
  metrics.set("process_max_fds", {}, most);
  recordConntrack(metrics);
}

/** As of now. */
function recordConntrack(metrics: AgentMetricsRecorder): void {
  const [used, max = 0] = ["count", "max"].map((name) => settingOf(`net/netfilter/nf_conntrack_${name}`));
  metrics.set("flannel_conntrack_usage_ratio", {}, used === undefined || max === 0 ? undefined : used / max);
}

function settingOf(key: string): number | undefined {
  try {
    const value = Number(readSysctl(key));
    return Number.isFinite(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function counted(findings: readonly Finding[]) {
  const counts = new Map<string, { labels: { name: string; severity: string }; value: number }>();
  for (const { name, severity } of findings) {
    const entry = counts.get(`${name} ${severity}`) ?? { labels: { name, severity }, value: 0 };
    entry.value++;
    counts.set(`${name} ${severity}`, entry);
  }
  return counts.values();
}

function soonest(certificates: readonly CertificateInUse[]) {
  const ends = new Map<string, number>();
  for (const { role, endsAtMs } of certificates) ends.set(role, Math.min(endsAtMs, ends.get(role) ?? endsAtMs));
  return [...ends].map(([role, endsAtMs]) => ({ labels: { role }, value: endsAtMs / 1_000 }));
}

/** What concerns one network. */
export function recordNetwork(metrics: MetricsRecorder, agent: Agent): void {
  const { network, storeView, table, config } = agent;
  metrics.set("flannel_lease_expires_timestamp_seconds", {}, seconds(agent.leaseExpiresAtMs));
  metrics.set("flannel_store_connected", {}, storeView.isConnected ? 1 : 0);
  const { ageMs } = storeView;
  metrics.set(
    "flannel_store_last_answer_timestamp_seconds",
    {},
    ageMs === undefined ? undefined : (Date.now() - ageMs) / 1_000,
  );
  metrics.set("flannel_store_unreadable_keys", {}, table.unreadable().length);
  metrics.set("flannel_peers_known", {}, table.peers().length);
  recordPool(metrics, agent);
  metrics.set("flannel_peers_desired", {}, network?.plan.plannedPeers);
  metrics.set("flannel_peers_programmed", {}, network?.programmedPeers);
  metrics.replace(
    "flannel_backend_info",
    config === undefined ? [] : [{ labels: { backend: config.backendType }, value: 1 }],
  );
  if (network === undefined) return;
  const { mode, failures } = network.firewall.status();
  metrics.set("flannel_mtu_bytes", {}, network.mtuBytes);
  metrics.set("flannel_convergence_pending", {}, network.programming.pending);
  metrics.set("flannel_failed_objects", {}, network.hostFailures.length + failures.length);
  metrics.set("flannel_firewall_failures", {}, failures.length);
  metrics.replace(
    "flannel_firewall_mode",
    firewallModes.map((one) => ({ labels: { mode: one }, value: one === mode ? 1 : 0 })),
  );
  metrics.set(
    "flannel_data_plane_problem",
    {},
    network.plan.runtime === undefined ? undefined : Number(network.dataPlaneProblem !== undefined),
  );
  network.runtime.recordMetrics(metrics);
  network.checks.probes?.record();
  if (metrics.isPerPeer) recordPeers(metrics, network.dataPlane()?.peers ?? []);
}

function recordPool(metrics: MetricsRecorder, { poolSize, table, ownLease }: Agent): void {
  const leases = [...table.peers(), ...(ownLease === undefined ? [] : [ownLease])];
  const reserved = leases.filter(({ isReservation }) => isReservation).length;
  const states = {
    free: Math.max(0, (poolSize ?? 0) - leases.length),
    leased: leases.length - reserved,
    reserved,
  };
  metrics.replace(
    "flannel_pool_subnets",
    poolSize === undefined ? [] : Object.entries(states).map(([state, value]) => ({ labels: { state }, value })),
  );
}

interface PeerTraffic {
  readonly key: string;
  readonly receivedBytes?: number | undefined;
  readonly sentBytes?: number | undefined;
  readonly lastHandshakeAt?: string | undefined;
}

function recordPeers(metrics: MetricsRecorder, peers: readonly PeerTraffic[]): void {
  const values = (of: (peer: PeerTraffic) => number | undefined) =>
    peers.flatMap((peer) => {
      const value = of(peer);
      return value === undefined || Number.isNaN(value) ? [] : [{ labels: { peer: peer.key }, value }];
    });
  metrics.replace(
    "flannel_peer_receive_bytes_total",
    values(({ receivedBytes }) => receivedBytes),
  );
  metrics.replace(
    "flannel_peer_transmit_bytes_total",
    values(({ sentBytes }) => sentBytes),
  );
  metrics.replace(
    "flannel_peer_last_handshake_timestamp_seconds",
    values(({ lastHandshakeAt: at }) => (at === undefined ? undefined : Date.parse(at) / 1_000)),
  );
}

function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1_000;
}
