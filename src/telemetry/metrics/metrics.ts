// Records metrics in this process. Features are handed a `MetricsRecorder` of their network; whoever exposes the metrics
// takes a snapshot. What the registry (definitions.ts) does not have cannot be recorded.
import {
  type LabelsOf,
  type MetricDefinition,
  type MetricName,
  type MetricOf,
  metricDefinitions,
} from "./definitions.ts";

/** The port through which a feature records what concerns one network. Nothing in it throws. */
export interface MetricsRecorder {
  /** Adds to a counter, 1 by default. */
  count<Name extends MetricOf<"counter">>(name: Name, labels: LabelsOf<Name>, amount?: number): void;
  /** Sets a counter to what its source counted itself. */
  total<Name extends MetricOf<"counter">>(name: Name, labels: LabelsOf<Name>, value: number): void;
  /** Sets a gauge; undefined: there is nothing to tell. */
  set<Name extends MetricOf<"gauge">>(name: Name, labels: LabelsOf<Name>, value: number | undefined): void;
  /** Enters a value into a histogram. */
  observe<Name extends MetricOf<"histogram">>(name: Name, labels: LabelsOf<Name>, value: number): void;
}

export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>;
  /** Of a counter or a gauge; of a histogram the sum of all values. */
  readonly value: number;
  /** Of a histogram: the number of values. */
  readonly count?: number;
  /** Of a histogram: values up to `le`, for each bound but infinity. */
  readonly buckets?: readonly { readonly le: number; readonly count: number }[];
}

export interface MetricFamily {
  readonly name: MetricName;
  readonly type: MetricDefinition["type"];
  readonly help: string;
  readonly unit?: string;
  readonly samples: readonly MetricSample[];
}

/** Of one metric: what comes from outside (names of programs) must not fill the memory. */
const MAX_LABEL_SETS = 100;
/** Stands for the labels that would be too many. */
const OTHER = "other";

interface Series {
  readonly labels: Readonly<Record<string, string>>;
  value: number;
  count: number;
  /** Values in each bucket alone; empty unless a histogram. */
  readonly inBucket: number[];
}

export class Metrics {
  readonly #series = new Map<MetricName, Map<string, Series>>();

  network(network: string): MetricsRecorder {
    return {
      count: (name, labels, amount = 1) => {
        this.#seriesOf(name, { network, ...labels }).value += amount;
      },
      total: (name, labels, value) => {
        this.#seriesOf(name, { network, ...labels }).value = value;
      },
      set: (name, labels, value) => {
        const all = { network, ...labels };
        if (value === undefined) this.#series.get(name)?.delete(keyOf(all));
        else this.#seriesOf(name, all).value = value;
      },
      observe: (name, labels, value) => {
        const series = this.#seriesOf(name, { network, ...labels });
        series.value += value;
        series.count++;
        const bucket = bucketsOf(name).findIndex((bound) => value <= bound);
        if (bucket >= 0) series.inBucket[bucket] = (series.inBucket[bucket] ?? 0) + 1;
      },
    };
  }

  /** All metrics that have something to tell, in the order of the registry. */
  snapshot(): MetricFamily[] {
    const names = Object.keys(metricDefinitions) as MetricName[];
    return names.flatMap((name) => {
      const series = [...(this.#series.get(name)?.values() ?? [])];
      const { type, help, unit }: MetricDefinition = metricDefinitions[name];
      if (series.length === 0) return [];
      const samples = series.map((one) => (type === "histogram" ? histogramSample(name, one) : plainSample(one)));
      return [{ name, type, help, ...(unit !== undefined && { unit }), samples }];
    });
  }

  #seriesOf(name: MetricName, labels: Readonly<Record<string, string>>): Series {
    const all = this.#series.get(name) ?? new Map<string, Series>();
    this.#series.set(name, all);
    const known = all.get(keyOf(labels));
    if (known !== undefined) return known;
    if (all.size >= MAX_LABEL_SETS && !isOther(labels)) return this.#seriesOf(name, otherLabels(labels));
    const series = { labels, value: 0, count: 0, inBucket: bucketsOf(name).map(() => 0) };
    all.set(keyOf(labels), series);
    return series;
  }
}

function bucketsOf(name: MetricName): readonly number[] {
  const definition: MetricDefinition = metricDefinitions[name];
  return definition.type === "histogram" ? definition.buckets : [];
}

function keyOf(labels: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function otherLabels({ network = "", ...labels }: Readonly<Record<string, string>>): Record<string, string> {
  return { network, ...Object.fromEntries(Object.keys(labels).map((label) => [label, OTHER])) };
}

/** Also what has no label but `network`: it has nothing that could become fewer. */
function isOther({ network: _, ...labels }: Readonly<Record<string, string>>): boolean {
  return Object.values(labels).every((value) => value === OTHER);
}

function plainSample({ labels, value }: Series): MetricSample {
  return { labels, value };
}

function histogramSample(name: MetricName, { labels, value, count, inBucket }: Series): MetricSample {
  let upTo = 0;
  const buckets = bucketsOf(name).map((le, index) => {
    upTo += inBucket[index] ?? 0;
    return { le, count: upTo };
  });
  return { labels, value, count, buckets };
}
