// Metrics about the store and what it holds: leases, peers, requests.
import { counter, durations, gauge } from "./definition.ts";

export const storeMetrics = {
  flannel_lease_expires_timestamp_seconds: gauge(
    "When the agent's lease expires, as Unix time; missing without a lease and for a reservation.",
    [],
    "seconds",
  ),
  flannel_lease_renewals_total: counter("Renewals of the agent's lease, by result: renewed, failed.", ["result"]),
  flannel_lease_reacquisitions_total: counter("How often the agent re-acquired its lease because it was gone."),

  flannel_store_connected: gauge("1 while the agent watches the leases in the store, else 0."),
  flannel_store_last_answer_timestamp_seconds: gauge(
    "When the store last answered, as Unix time; missing before its first answer.",
    [],
    "seconds",
  ),
  flannel_store_request_duration_seconds: durations(
    "Duration of the agent's requests to the store that succeeded, by operation: config, acquire, renew.",
    ["operation"],
  ),
  flannel_store_request_errors_total: counter(
    "Requests of the agent to the store that failed, by operation and error code; docs/troubleshooting.md lists the codes.",
    ["operation", "code"],
  ),
  flannel_store_disconnections_total: counter("How often the agent lost its watch of the leases."),
  flannel_store_unreadable_keys: gauge("Keys under the prefix that are not leases."),

  flannel_peers_known: gauge("Leases of other hosts."),
  flannel_peers_desired: gauge("Peers that the backend can reach."),
  flannel_peers_programmed: gauge("Desired peers with every kernel object in place."),
  flannel_pool_subnets: gauge(
    "Subnets that the configuration allows, by state: free, leased, reserved; of two families the one with fewer. Missing in Kubernetes, " +
      "which gives hosts their subnets.",
    ["state"],
  ),
  flannel_lease_changes_total: counter(
    "Writes of leases that the store reported, renewals and those of this host among them, by change: put, deleted.",
    ["change"],
  ),
};
