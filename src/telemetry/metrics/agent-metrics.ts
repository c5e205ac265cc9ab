// Metrics of the agent as a whole: they have no label `network`.
import { counter, gauge } from "./definition.ts";

export const agentMetrics = {
  flannel_build_info: gauge("Always 1; the labels name the agent's version, and the version of Node that runs it.", [
    "version",
    "node_version",
  ]),
  flannel_ready: gauge("1 while the agent is ready, else 0."),
  flannel_state: gauge("1 for the state of the agent (ready, degraded, notReady), 0 for the others.", ["state"]),
  flannel_state_changes_total: counter("Changes of the agent's state."),
  flannel_reasons: gauge("1 for each present reason against the state ready; docs/flannelctl.md lists them.", [
    "reason",
  ]),
  flannel_findings: gauge(
    "Findings of the last check of this host, by name and severity (warning, error); docs/flannelctl.md lists them.",
    ["name", "severity"],
  ),
  flannel_certificate_expires_timestamp_seconds: gauge(
    "When a certificate of the connection to the store expires, as Unix time, by role: client, authority, server.",
    ["role"],
    "seconds",
  ),
  flannel_events_total: counter("Lines of the log, by level: info, warn, error.", ["level"]),
  flannel_metrics_dropped_series: gauge("Series left out of the last scrape, because a metric had too many of them."),

  flannel_cni_adds_total: counter(
    "Interfaces of containers that runtimes attached to a CNI network of flannel's, by the CNI network: cbr0 unless you changed it.",
    ["cni_network"],
  ),
  flannel_cni_dels_total: counter("Interfaces of containers that runtimes detached, by the CNI network.", [
    "cni_network",
  ]),
  flannel_cni_attachments: gauge("Interfaces of containers that are attached now, by the CNI network.", [
    "cni_network",
  ]),
  flannel_cni_add_errors_total: counter(
    "ADDs that failed, by code: that of the plugin flannel (docs/cni.md lists them); delegate: an address was reserved and given back at " +
      "once. What fails before it has an address, as without a free one, is seen by the runtime alone.",
    ["code"],
  ),
  flannel_conntrack_usage_ratio: gauge(
    "Tracked connections of this network namespace against the kernel's limit, from 0 to 1; missing where none are tracked.",
    [],
    "ratio",
  ),

  process_cpu_seconds_total: counter("Processor time of the agent, user and system.", [], "seconds"),
  process_resident_memory_bytes: gauge("Memory of the agent that is in RAM.", [], "bytes"),
  process_start_time_seconds: gauge("When the agent started, as Unix time.", [], "seconds"),
  process_open_fds: gauge("Open file descriptors of the agent."),
  process_max_fds: gauge("How many file descriptors the agent may open."),
};
