// What the agent tells about itself and its networks: state, status, plan. It reads and changes nothing, but for the handover.
import type { AgentOptions } from "../../config/agent-options.ts";
import type { CheckFinding, Finding } from "../../doctor/finding.ts";
import { descriptorShortage } from "../../sys/spare-descriptors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { AgentMetricsRecorder, MetricFamily, Metrics } from "../../telemetry/metrics/metrics.ts";
import type { Handover, Plan, Rules, Status } from "../control/control-protocol.ts";
import type { ControlHandlers } from "../control/control-server.ts";
import { recordAgent } from "./agent-metrics.ts";
import type { StateReason } from "./agent-state.ts";
import { certificateFindings } from "./certificate-findings.ts";
import type { CniKeeper } from "./cni-keeper.ts";
import { descriptorFindings } from "./descriptor-findings.ts";
import { NetworkReport } from "./network-report.ts";
import type { ToldState } from "./state-follower.ts";
import { storeStatus, type ToldStore } from "./store-status.ts";

/** What there is once for all networks. */
export interface SharedParts {
  readonly store: ToldStore;
  readonly cni?: CniKeeper;
}

export class AgentReport {
  readonly handlers: ControlHandlers = {
    status: () => this.status(),
    plan: () => this.plan(),
    rules: () => this.rules(),
    handover: async () => this.handover(),
    metrics: async () => ({ metrics: this.metrics() }),
  };
  readonly #options: AgentOptions;
  readonly #version: string;
  readonly #metrics: Metrics;
  readonly #network: NetworkReport;
  readonly #startedAt = new Date();
  #shared: Partial<SharedParts> = {};

  constructor(options: AgentOptions, version: string, metrics: Metrics) {
    this.#options = options;
    this.#version = version;
    this.#metrics = metrics;
    this.#network = new NetworkReport(options, metrics);
  }

  /** For what concerns the agent as a whole. */
  get agentMetrics(): AgentMetricsRecorder {
    return this.#metrics.agent;
  }

  get network(): NetworkReport {
    return this.#network;
  }

  follow(shared: SharedParts): void {
    this.#shared = shared;
  }

  get #networks(): readonly NetworkReport[] {
    return [this.#network];
  }

  /** As told to others now, with the reasons of this moment. */
  state(): ToldState & { readonly reasons: readonly StateReason[] } {
    return this.#network.state();
  }

  get isForwarding(): boolean {
    return this.#networks.every(({ isForwarding }) => isForwarding);
  }

  /** Looks after what CNI keeps, should it be time to. */
  tendCni(): void {
    this.#shared.cni?.follow(this.#network.bridgeWish);
  }

  get hasNetwork(): boolean {
    return this.#networks.some(({ hasNetwork }) => hasNetwork);
  }

  /** What stands in the way of packets on this host; see `NetworkReport.preflight`. */
  async preflight(): Promise<readonly CheckFinding[]> {
    return (await Promise.all(this.#networks.map((network) => network.preflight()))).flat();
  }

  summary(): Record<string, unknown> {
    return this.#network.summary();
  }

  async status(): Promise<Status> {
    const findings = await this.preflight();
    const { state, changedAtMs, pendingState, reasons } = this.state();
    return {
      agent: {
        version: this.#version,
        pid: process.pid,
        startedAt: this.#startedAt.toISOString(),
        stateDirectory: this.#options.stateDirectory,
      },
      state,
      stateChangedAt: new Date(changedAtMs).toISOString(),
      ...(pendingState !== undefined && { pendingState }),
      reasons: [...reasons],
      findings: this.#allFindings(findings),
      store: storeStatus(
        this.#shared.store,
        this.#networks.flatMap(({ agent }) => agent?.storeView ?? []),
      ),
      networks: this.#networks.map((network) => network.status()),
    };
  }

  /** `found`: by the checks of this host, which take a moment; the others are known at any time. */
  #allFindings(found: readonly CheckFinding[]): Finding[] {
    return [
      ...found,
      ...descriptorFindings(descriptorShortage()),
      ...(this.#shared.cni?.findings ?? []),
      ...this.#networks.flatMap(({ objectFindings }) => objectFindings),
      ...this.#certificateFindings(),
      ...this.#networks.flatMap(({ configFindings }) => configFindings),
    ];
  }

  async plan(): Promise<Plan> {
    return { networks: await Promise.all(this.#networks.map((network) => network.plan())) };
  }

  async rules(): Promise<Rules> {
    return { networks: await Promise.all(this.#networks.map((network) => network.rules())) };
  }

  async handover(): Promise<Handover> {
    const networks = await Promise.all(this.#networks.map((network) => network.handover()));
    const writtenScratchFiles = await this.#shared.cni?.handOver();
    const containers = writtenScratchFiles === undefined ? {} : { writtenScratchFiles };
    return { networks: networks.map((network) => ({ ...network, ...containers })) };
  }

  /** A person asked for it, since the start. */
  get isHandedOver(): boolean {
    return this.#networks.some(({ isHandedOver }) => isHandedOver);
  }

  /** See `KeptHandover.keep`. */
  keepHandedOver(logger: Logger): void {
    for (const network of this.#networks) network.keepHandedOver(logger);
  }

  /** What features recorded as it happened, and what is read from them now. */
  metrics(): MetricFamily[] {
    const { state, reasons } = this.state();
    recordAgent(this.#metrics.agent, {
      version: this.#version,
      startedAt: this.#startedAt,
      state,
      reasons,
      findings: this.#allFindings(this.#networks.flatMap(({ lastFindings }) => lastFindings)),
      certificates: this.#shared.store?.certificates?.inUse() ?? [],
    });
    for (const network of this.#networks) network.record();
    this.#metrics.agent.set("flannel_metrics_dropped_series", {}, this.#metrics.takeDropped());
    return this.#metrics.snapshot();
  }

  #certificateFindings(): Finding[] {
    return certificateFindings(this.#shared.store?.certificates?.inUse() ?? [], this.#options.etcd, Date.now());
  }
}
