// Records metrics in this process. Features are handed a `MetricsRecorder` of their network; whoever exposes the metrics
// takes a snapshot. What the registry (definitions.ts) does not have cannot be recorded.
import { printable } from "../../terminal/foreign-text.ts";
import type { MetricDefinition } from "./definition.ts";
import {
  type AgentDefinitions,
  type LabelsOf,
  type MetricName,
  type MetricOf,
  metricDefinitions,
  type NetworkDefinitions,
} from "./definitions.ts";

/** One of several series that are reported together. */
export interface LabelledValue<Labels> {
  readonly labels: Labels;
  readonly value: number;
}

interface Recorder<D extends Readonly<Record<string, MetricDefinition>>> {
  /** Adds to a counter, 1 by default. */
  count<Name extends MetricOf<D, "counter">>(name: Name, labels: LabelsOf<D, Name>, amount?: number): void;
  /** Sets a counter to what its source counted itself. */
  total<Name extends MetricOf<D, "counter">>(name: Name, labels: LabelsOf<D, Name>, value: number): void;
  /** Sets a gauge; undefined: there is nothing to tell. */
  set<Name extends MetricOf<D, "gauge">>(name: Name, labels: LabelsOf<D, Name>, value: number | undefined): void;
  /** Enters a value into a histogram. */
  observe<Name extends MetricOf<D, "histogram">>(name: Name, labels: LabelsOf<D, Name>, value: number): void;
  /** Sets all series of a gauge or a counter: those of before that are not among `values` are gone. */
  replace<Name extends MetricOf<D, "gauge" | "counter">>(
    name: Name,
    values: Iterable<LabelledValue<LabelsOf<D, Name>>>,
  ): void;
  /** Whether series of single peers are recorded; who does not want them need not be asked for their values. */
  readonly isPerPeer: boolean;
}

/** The port through which a feature records what concerns one network. Nothing in it throws. */
export interface MetricsRecorder extends Recorder<NetworkDefinitions> {}
/** The same for what concerns the agent as a whole. */
export interface AgentMetricsRecorder extends Recorder<AgentDefinitions> {}

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

export interface MetricsOptions {
  /** `--metrics-per-peer` */
  readonly isPerPeer?: boolean;
}

/** Of one metric of one network: what comes from outside (names of programs) must not fill the memory. */
const MAX_LABEL_SETS = 100;
/** Of a metric with a series for each peer. */
const MAX_PEERS = 10_000;
const MAX_LABEL_LENGTH = 256;
/** Stands for the labels that would be too many. */
const OTHER = "other";

type Labels = Readonly<Record<string, string>>;

interface Series {
  readonly labels: Labels;
  value: number;
  count: number;
  /** Values in each bucket alone; empty unless a histogram. */
  readonly inBucket: number[];
}

export class Metrics {
  readonly #series = new Map<MetricName, Map<string, Series>>();
  readonly #isPerPeer: boolean;
  #dropped = 0;
  readonly agent: AgentMetricsRecorder;

  constructor({ isPerPeer = false }: MetricsOptions = {}) {
    this.#isPerPeer = isPerPeer;
    this.agent = this.#recorder({});
  }

  network(network: string): MetricsRecorder {
    return this.#recorder({ network });
  }

  /** Series that `replace` had to leave out since the last call. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  /** The network is gone: nothing is reported of it. */
  forget(network: string): void {
    for (const all of this.#series.values()) {
      for (const [key, { labels }] of all) if (labels["network"] === network) all.delete(key);
    }
  }

  /** All metrics that have something to tell, in the order of the registry. */
  snapshot(): MetricFamily[] {
    const names = Object.keys(metricDefinitions) as MetricName[];
    return names.flatMap((name) => {
      const series = [...(this.#series.get(name)?.values() ?? [])];
      const { type, help, unit } = metricDefinitions[name];
      if (series.length === 0) return [];
      const samples = series.map((one) => (type === "histogram" ? histogramSample(name, one) : plainSample(one)));
      return [{ name, type, help, ...(unit !== undefined && { unit }), samples }];
    });
  }

  /** `scope`: labels that all series of this recorder have. */
  #recorder(scope: Labels): MetricsRecorder & AgentMetricsRecorder {
    return {
      isPerPeer: this.#isPerPeer,
      count: (name: MetricName, labels: Labels, amount = 1) => {
        this.#seriesOf(name, joined(scope, labels)).value += amount;
      },
      total: (name: MetricName, labels: Labels, value: number) => {
        this.#seriesOf(name, joined(scope, labels)).value = value;
      },
      set: (name: MetricName, labels: Labels, value: number | undefined) => {
        const all = joined(scope, labels);
        if (value === undefined) this.#series.get(name)?.delete(keyOf(all));
        else this.#seriesOf(name, all).value = value;
      },
      observe: (name: MetricName, labels: Labels, value: number) => {
        const series = this.#seriesOf(name, joined(scope, labels));
        series.value += value;
        series.count++;
        const bucket = bucketsOf(name).findIndex((bound) => value <= bound);
        if (bucket >= 0) series.inBucket[bucket] = (series.inBucket[bucket] ?? 0) + 1;
      },
      replace: (name: MetricName, values: Iterable<LabelledValue<Labels>>) => this.#replace(name, scope, values),
    };
  }

  #replace(name: MetricName, scope: Labels, values: Iterable<LabelledValue<Labels>>): void {
    const { isPerPeer = false } = metricDefinitions[name];
    if (isPerPeer && !this.#isPerPeer) return;
    const most = isPerPeer ? MAX_PEERS : MAX_LABEL_SETS;
    const all = new Map<string, Series>();
    let ownSets = 0;
    for (const [key, series] of this.#series.get(name) ?? []) {
      if (series.labels["network"] !== scope["network"]) all.set(key, series);
    }
    for (const { labels: own, value } of values) {
      const labels = joined(scope, own);
      const isRoom = isPerPeer ? all.size < most : ownSets++ < most;
      if (isRoom) all.set(keyOf(labels), { labels, value, count: 0, inBucket: [] });
      else this.#dropped++;
    }
    this.#series.set(name, all);
  }

  #seriesOf(name: MetricName, labels: Labels): Series {
    const all = this.#series.get(name) ?? new Map<string, Series>();
    this.#series.set(name, all);
    const known = all.get(keyOf(labels));
    if (known !== undefined) return known;
    const isFull = all.size >= MAX_LABEL_SETS && setsOf(all, labels["network"]) >= MAX_LABEL_SETS;
    if (isFull && !isOther(labels)) return this.#seriesOf(name, otherLabels(labels));
    const series = { labels, value: 0, count: 0, inBucket: bucketsOf(name).map(() => 0) };
    all.set(keyOf(labels), series);
    return series;
  }
}

/** Each network has its own: one must not leave the others without. */
function setsOf(all: ReadonlyMap<string, Series>, network: string | undefined): number {
  return [...all.values()].filter(({ labels }) => labels["network"] === network).length;
}

/** Values from outside (names of programs, lease keys) reach terminals: they are made harmless before they are compared. */
function joined(scope: Labels, labels: Labels): Labels {
  const all: Record<string, string> = { ...scope };
  for (const label in labels) all[label] = printable(labels[label] ?? "").slice(0, MAX_LABEL_LENGTH);
  return all;
}

function bucketsOf(name: MetricName): readonly number[] {
  const definition = metricDefinitions[name];
  return definition.type === "histogram" ? definition.buckets : [];
}

function keyOf(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function otherLabels(labels: Labels): Record<string, string> {
  return Object.fromEntries(
    Object.entries(labels).map(([label, value]) => [label, label === "network" ? value : OTHER]),
  );
}

/** Also what has no label but `network`: it has nothing that could become fewer. */
function isOther({ network: _, ...labels }: Labels): boolean {
  return Object.values(labels).every((value) => value === OTHER);
}

function plainSample({ labels, value }: Series): MetricSample {
  return { labels, value };
}

function histogramSample(name: MetricName, { labels, value, count, inBucket }: Series): MetricSample {
  let below = 0;
  const buckets = bucketsOf(name).map((le, index) => {
    below += inBucket[index] ?? 0;
    return { le, count: below };
  });
  return { labels, value, count, buckets };
}
