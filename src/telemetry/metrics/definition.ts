// What is registered of a metric, and short ways to write it down. Names follow Prometheus: base units, `_total` for
// counters.

interface Described<Label extends string> {
  readonly help: string;
  /** Base unit; missing for plain numbers. */
  readonly unit?: MetricUnit;
  /** Besides `network`, which every metric of a network has. */
  readonly labels: readonly Label[];
  /** One series for each peer, by the label `peer`: recorded only with `--metrics-per-peer`. */
  readonly isPerPeer?: boolean;
}

export type MetricUnit = "seconds" | "bytes" | "ratio";

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

/** From 1 ms to 60 s: for what the kernel, a tool or a store does. */
const durationBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export function counter<Label extends string = never>(
  help: string,
  labels: readonly Label[] = [],
  unit?: MetricUnit,
): CounterDefinition<Label> {
  return { type: "counter", help, labels, ...(unit !== undefined && { unit }) };
}

export function gauge<Label extends string = never>(
  help: string,
  labels: readonly Label[] = [],
  unit?: MetricUnit,
): GaugeDefinition<Label> {
  return { type: "gauge", help, labels, ...(unit !== undefined && { unit }) };
}

/** Of seconds. */
export function durations<Label extends string = never>(
  help: string,
  labels: readonly Label[] = [],
  buckets: readonly number[] = durationBuckets,
): HistogramDefinition<Label> {
  return { type: "histogram", help, labels, unit: "seconds", buckets };
}

/** A gauge or a counter with one series for each peer: see `isPerPeer`. */
export function perPeer<Definition extends CounterDefinition<"peer"> | GaugeDefinition<"peer">>(
  definition: Definition,
): Definition {
  return { ...definition, isPerPeer: true };
}
