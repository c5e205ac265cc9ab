// The registry of metrics: what the agent counts and measures about each network. A definition stands here only when
// something records it. Names follow Prometheus: base units, `_total` for counters.

interface Described<Label extends string> {
  readonly help: string;
  /** Base unit; missing for plain numbers. */
  readonly unit?: "seconds" | "bytes";
  /** Besides `network`, which every metric has. */
  readonly labels: readonly Label[];
}

export interface CounterDefinition<Label extends string = string> extends Described<Label> {
  readonly type: "counter";
}
export interface GaugeDefinition<Label extends string = string> extends Described<Label> {
  readonly type: "gauge";
}
export interface HistogramDefinition<Label extends string = string> extends Described<Label> {
  readonly type: "histogram";
  /** Upper bounds, ascending. */
  readonly buckets: readonly number[];
}
export type MetricDefinition = CounterDefinition | GaugeDefinition | HistogramDefinition;

type Unit = NonNullable<Described<string>["unit"]>;

function counter<Label extends string>(
  help: string,
  labels: readonly Label[] = [],
  unit?: Unit,
): CounterDefinition<Label> {
  return { type: "counter", help, labels, ...(unit !== undefined && { unit }) };
}

function gauge(help: string, unit?: Unit): GaugeDefinition<never> {
  return { type: "gauge", help, labels: [], ...(unit !== undefined && { unit }) };
}

export const metricDefinitions = {
  flannel_ready: gauge("1 while the agent is ready, else 0."),

  flannel_lease_expiry_timestamp_seconds: gauge(
    "When the agent's lease expires, as Unix time; missing without a lease and for a reservation.",
    "seconds",
  ),
  flannel_lease_renewals_total: counter("Renewals of the agent's lease, by result: renewed, failed.", ["result"]),
  flannel_lease_reacquisitions_total: counter("How often the agent re-acquired its lease because it was gone."),

  flannel_store_connected: gauge("1 while the agent watches the leases in the store, else 0."),
  flannel_store_last_answer_age_seconds: gauge(
    "Time since the store last answered; missing before its first answer.",
    "seconds",
  ),
  flannel_store_unreadable_keys: gauge("Keys under the prefix that are not leases."),

  flannel_peers_known: gauge("Leases of other hosts."),
  flannel_peers_desired: gauge("Peers that the backend can reach."),
  flannel_peers_programmed: gauge("Desired peers with every kernel object in place."),

  flannel_reconcile_passes_total: counter("Reconcile passes, by result: done, failed (in part or as a whole).", [
    "result",
  ]),
  flannel_reconcile_operations_total: counter(
    "Kernel objects that the agent added, changed or removed, or attempted to.",
  ),
  flannel_reconcile_duration_seconds: {
    type: "histogram",
    help: "Duration of a reconcile pass.",
    unit: "seconds",
    labels: [],
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10],
  } satisfies HistogramDefinition<never> as HistogramDefinition<never>,
  flannel_failed_objects: gauge("Kernel objects and traffic rules that the kernel or a tool refuses at present."),
  flannel_host_repairs_total: counter(
    "Kernel objects that the agent repaired after an external change, by kind and action: added, corrected, removed.",
    ["kind", "action"],
  ),
  flannel_firewall_repairs_total: counter(
    "Traffic rules that the agent repaired after an external change, by action and by the program that changed them: " +
      "unknown if the kernel does not report it, several if there was more than one.",
    ["action", "author"],
  ),

  flannel_udp_packets_total: counter("Packets that the udp backend forwarded, by direction: sent, received.", [
    "direction",
  ]),
  flannel_udp_bytes_total: counter("Bytes of these packets.", ["direction"], "bytes"),
  flannel_udp_datagram_batches_total: counter("Batches of datagrams that held these packets.", ["direction"]),
  flannel_udp_icmp_errors_total: counter("ICMP errors that the udp backend sent."),
  flannel_udp_dropped_packets_total: counter(
    "Packets that the udp backend dropped, by reason; flannelctl status has the same reasons.",
    ["reason"],
  ),
};

type Definitions = typeof metricDefinitions;
export type MetricName = keyof Definitions;

/** The metrics of a type. */
export type MetricOf<Type extends MetricDefinition["type"]> = {
  [Name in MetricName]: Definitions[Name]["type"] extends Type ? Name : never;
}[MetricName];

type LabelNames<Name extends MetricName> = Definitions[Name]["labels"][number];

/** Exactly the labels of a metric, but for `network`. */
export type LabelsOf<Name extends MetricName> = [LabelNames<Name>] extends [never]
  ? Readonly<Record<string, never>>
  : { readonly [Label in LabelNames<Name>]: string };
