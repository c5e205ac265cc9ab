// The registry of metrics: what the agent counts and measures. A definition stands in one of the tables only when something
// records it. docs/monitoring.md lists them (scripts/generate-monitoring-docs.ts).
import { agentMetrics } from "./agent-metrics.ts";
import { backendMetrics } from "./backend-metrics.ts";
import type { MetricDefinition } from "./definition.ts";
import { hostMetrics } from "./host-metrics.ts";
import { probeMetrics } from "./probe-metrics.ts";
import { storeMetrics } from "./store-metrics.ts";

/** Of one network each: they have the label `network`. */
const networkMetrics = { ...storeMetrics, ...hostMetrics, ...backendMetrics, ...probeMetrics };

export type AgentDefinitions = typeof agentMetrics;
export type NetworkDefinitions = typeof networkMetrics;
export type MetricName = keyof AgentDefinitions | keyof NetworkDefinitions;

export const metricDefinitions: Readonly<Record<MetricName, MetricDefinition>> = { ...agentMetrics, ...networkMetrics };

type Definitions = Readonly<Record<string, MetricDefinition>>;

/** The metrics of a type. */
export type MetricOf<D extends Definitions, Type extends MetricDefinition["type"]> = {
  [Name in keyof D]: D[Name]["type"] extends Type ? Name : never;
}[keyof D] &
  MetricName;

type LabelNames<D extends Definitions, Name extends keyof D> = D[Name]["labels"][number];

/** Exactly the labels of a metric, but for `network`. */
export type LabelsOf<D extends Definitions, Name extends keyof D> = [LabelNames<D, Name>] extends [never]
  ? Readonly<Record<string, never>>
  : { readonly [Label in LabelNames<D, Name>]: string };
