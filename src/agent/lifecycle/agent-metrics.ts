// Metrics that are read from the agent when somebody asks, because it keeps them anyway.
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { Agent } from "./agent.ts";

export function recordAgent(metrics: MetricsRecorder, agent: Agent): void {
  const { network, ownLease, storeView, table } = agent;
  metrics.set("flannel_ready", {}, agent.reasons().length === 0 ? 1 : 0);
  const { expiresAtMs } = ownLease ?? {};
  metrics.set("flannel_lease_expiry_timestamp_seconds", {}, seconds(expiresAtMs));
  metrics.set("flannel_store_connected", {}, storeView.isConnected ? 1 : 0);
  metrics.set("flannel_store_last_answer_age_seconds", {}, seconds(storeView.ageMs));
  metrics.set("flannel_store_unreadable_keys", {}, table.unreadable().length);
  metrics.set("flannel_peers_known", {}, table.peers().length);
  metrics.set("flannel_peers_desired", {}, network?.plan.plannedPeers);
  metrics.set("flannel_peers_programmed", {}, network?.programmedPeers);
  metrics.set(
    "flannel_failed_objects",
    {},
    network === undefined ? undefined : network.hostFailures.length + network.firewall.status().failures.length,
  );
  network?.runtime.recordMetrics(metrics);
}

function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1_000;
}
