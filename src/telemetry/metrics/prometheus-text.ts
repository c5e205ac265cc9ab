// A snapshot of the metrics as Prometheus reads it, by Prometheus' client library. To be loaded late: few agents need it, and
// recording does without it.
import { Gauge, Registry } from "prom-client";
import type { MetricFamily, MetricSample } from "./metrics.ts";

export const prometheusContentType: string = Registry.PROMETHEUS_CONTENT_TYPE;

/** Rejects only for names that the registry of metrics does not allow. */
export function prometheusText(families: readonly MetricFamily[]): Promise<string> {
  const registry = new Registry();
  for (const family of families) registry.registerMetric(new RecordedMetric(family));
  return registry.metrics();
}

interface Value {
  /** Of a histogram: the series' name. */
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** The library checks names and writes the text; the values are those of the snapshot, of any type. */
class RecordedMetric extends Gauge {
  readonly #family: MetricFamily;

  constructor(family: MetricFamily) {
    const { name, help } = family;
    // Registered with nobody: two agents in one process stay apart.
    super({ name, help, labelNames: Object.keys(family.samples[0]?.labels ?? {}), registers: [] });
    this.#family = family;
  }

  override async get(): ReturnType<Gauge["get"]> {
    const { name, type, samples } = this.#family;
    // In the library's typings a type is a number, in the library its name.
    const described: object = { type };
    const values: Value[] = samples.flatMap((sample) =>
      type === "histogram" ? histogramValues(name, sample) : sample,
    );
    return Object.assign(await super.get(), described, { values });
  }
}

function histogramValues(name: string, { labels, value, count = 0, buckets = [] }: MetricSample): Value[] {
  const bounds = [...buckets, { le: "+Inf", count }];
  return [
    ...bounds.map((bound) => ({
      metricName: `${name}_bucket`,
      labels: { ...labels, le: bound.le },
      value: bound.count,
    })),
    { metricName: `${name}_sum`, labels, value },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
