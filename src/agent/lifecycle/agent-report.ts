// What the agent tells about itself and its networks: state, status, plan. It reads and changes nothing, but for what is asked of it by name.
import type { AgentOptions } from "../../config/agent-options.ts";
import type { Finding } from "../../doctor/finding.ts";
import { FlannelError } from "../../errors.ts";
import { tryParseAddress } from "../../ip/address.ts";
import { descriptorShortage } from "../../sys/spare-descriptors.ts";
import { Journal } from "../../telemetry/journal.ts";
import type { AgentMetricsRecorder, MetricFamily, Metrics } from "../../telemetry/metrics/metrics.ts";
import type { Handover, Plan, Reloaded, Rotated, Rules, Status } from "../control/control-protocol.ts";
import type { ControlHandlers } from "../control/control-server.ts";
import type { History, Why } from "../control/journal-protocol.ts";
import type { Trace } from "../control/trace-protocol.ts";
import { recordAgent } from "./agent-metrics.ts";
import { combinedReasons, reason, type StateReason } from "./agent-state.ts";
import { certificateFindings } from "./certificate-findings.ts";
import type { CniMaintenance } from "./cni-maintenance.ts";
import { descriptorFindings } from "./descriptor-findings.ts";
import { NetworkReport } from "./network-report.ts";
import { type ReportedState, StateFollower } from "./state-follower.ts";
import { type ReportedStore, storeStatus } from "./store-status.ts";
import type { StoreView } from "./store-view.ts";

/** What there is once for all networks. */
export interface SharedParts {
  readonly store: ReportedStore;
  /** Of who follows which networks there are. */
  readonly storeView?: StoreView;
  readonly cni?: CniMaintenance;
  /** What SIGHUP does. */
  readonly reload: () => Promise<Reloaded>;
}

/** After it was known which networks there are. */
const OTHERS_WITHIN_MS = 10_000;
const MAX_QUESTION_LENGTH = 300;

export class AgentReport {
  readonly handlers: ControlHandlers = {
    status: () => this.status(),
    plan: () => this.plan(),
    rules: () => this.rules(),
    handover: async () => this.handover(),
    reload: async () => this.reload(),
    rotate: async (query) => this.rotate(query.get("force") === "true"),
    metrics: async () => ({ metrics: this.metrics() }),
    history: async () => this.history(),
    peers: async () => ({ networks: this.#shown.map((network) => network.peers()) }),
    why: async (of) => this.why(of),
    trace: async (to) => this.trace(to),
    journal: {
      entries: (sequence) => this.#journal.entries(sequence),
      follow: (onEntry) => this.#journal.follow(onEntry),
    },
  };
  readonly #options: AgentOptions;
  readonly #version: string;
  readonly #metrics: Metrics;
  readonly #journal: Journal;
  readonly #startedAt = new Date();
  /** By name; of one network without a name, that one. */
  readonly #networks = new Map<string, NetworkReport>();
  /** About to go: they are not reported. */
  readonly #leaving = new Set<string>();
  readonly #isSeveral: boolean;
  readonly #follower = new StateFollower({ monotonicMs: () => performance.now(), wallMs: Date.now });
  /** When it was known which networks there are. */
  #knownAtMs: number | undefined;
  #shared: Partial<SharedParts> = {};

  constructor(options: AgentOptions, version: string, metrics: Metrics, journal = new Journal()) {
    this.#journal = journal;
    this.#options = options;
    this.#version = version;
    this.#metrics = metrics;
    this.#isSeveral = options.several !== undefined;
  }

  /** For what concerns the agent as a whole. */
  get agentMetrics(): AgentMetricsRecorder {
    return this.#metrics.agent;
  }

  follow(shared: SharedParts): void {
    this.#shared = shared;
  }

  /** A network that the agent serves, with its options. */
  add(options: AgentOptions): NetworkReport {
    const network = new NetworkReport(options, this.#metrics);
    this.#networks.set(network.name, network);
    return network;
  }

  /** Whether a network is reported: one that is taken off this host is no longer missing. */
  show(name: string, isShown: boolean): void {
    if (isShown) this.#leaving.delete(name);
    else this.#leaving.add(name);
  }

  remove(name: string): void {
    this.#networks.delete(name);
    this.#leaving.delete(name);
    this.#metrics.forget(name);
  }

  /** From now on the networks that were added are those there are, until the store says otherwise. */
  networksKnown(): void {
    this.#knownAtMs ??= performance.now();
  }

  get #shown(): readonly NetworkReport[] {
    return [...this.#networks.values()].filter(({ name }) => !this.#leaving.has(name));
  }

  /** As reported now, with the reasons of this moment; of several networks as they were looked at last. */
  state(): ReportedState & { readonly reasons: readonly StateReason[] } {
    const [first] = this.#networks.values();
    if (!this.#isSeveral && first !== undefined) return first.state();
    const isKnown = this.#knownAtMs !== undefined;
    const known = this.#shown.map(({ name, lastState: { state, reasons } }) => ({ name, state, reasons }));
    const starting = [reason("starting", "it is not known yet which networks there are")];
    const reasons = isKnown ? combinedReasons(known) : starting;
    const reported = this.#follower.follow(reasons);
    // Without a network the agent is ready, but its first one has the way up of a start before it.
    if (known.length === 0) this.#follower.restart();
    return { ...reported, reasons };
  }

  /** The state of one of several networks; undefined when there is no such network. */
  stateOf(name: string): (ReportedState & { readonly reasons: readonly StateReason[] }) | undefined {
    return this.#shown.find((network) => network.name === name)?.state();
  }

  /** Of several networks, one that cannot be served does not hold up for long what waits for the agent. */
  get isForwarding(): boolean {
    const networks = this.#shown;
    if (!this.#isSeveral) return networks.some(({ isForwarding }) => isForwarding);
    if (this.#knownAtMs === undefined) return false;
    if (networks.every(({ isForwarding }) => isForwarding)) return true;
    return networks.some(({ isForwarding }) => isForwarding) && performance.now() - this.#knownAtMs > OTHERS_WITHIN_MS;
  }

  /** Maintains what CNI keeps, should it be time to. */
  tickCni(): void {
    const [only] = this.#networks.values();
    this.#shared.cni?.follow(only?.bridgeWish);
  }

  get hasNetwork(): boolean {
    return this.#shown.some(({ hasNetwork }) => hasNetwork);
  }

  /** What stands in the way of packets on this host; see `NetworkReport.preflight`. */
  async preflight(): Promise<readonly Finding[]> {
    const found = (await Promise.all(this.#shown.map((network) => network.preflight()))).flat();
    // Of the host as a whole each network finds the same.
    return found.filter((one, index) => found.findIndex((other) => isSameFinding(one, other)) === index);
  }

  summary(): Record<string, unknown> {
    const networks = this.#shown;
    const [only] = networks;
    return this.#isSeveral || only === undefined ? { networks: networks.length } : only.summary();
  }

  async status(): Promise<Status> {
    const findings = await this.preflight();
    const networks = this.#shown.map((network) => (this.#isSeveral ? network.statusWithState() : network.status()));
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
      store: storeStatus(this.#shared.store, [
        ...(this.#shared.storeView === undefined ? [] : [this.#shared.storeView]),
        ...this.#shown.flatMap(({ storeView }) => storeView ?? []),
      ]),
      networks,
    };
  }

  /** `found`: by the checks of this host, which take a moment; the others are known at any time. */
  #allFindings(found: readonly Finding[]): Finding[] {
    return [
      ...found,
      ...descriptorFindings(descriptorShortage()),
      ...(this.#shared.cni?.findings ?? []),
      ...this.#findingsOf(({ objectFindings }) => objectFindings),
      ...this.#certificateFindings(),
      ...this.#findingsOf(({ configFindings }) => configFindings),
    ];
  }

  history(): History {
    const entries = this.#journal.entries() as History["entries"];
    return { startedAt: this.#startedAt.toISOString(), entries };
  }

  why(of: string): Why {
    if (of === "" || of.length > MAX_QUESTION_LENGTH)
      throw new FlannelError("USAGE", "ask why of an address, a subnet or an object");
    const entries = this.#journal.entries();
    return { networks: this.#shown.map((network) => network.why(of, entries)) };
  }

  trace(to: string): Trace {
    const address = tryParseAddress(to);
    if (address === undefined) throw new FlannelError("USAGE", "trace needs an IP address");
    return { networks: this.#opened().map((network) => network.trace(address)) };
  }

  async plan(): Promise<Plan> {
    return { networks: await Promise.all(this.#opened().map((network) => network.plan())) };
  }

  async rules(): Promise<Rules> {
    return { networks: await Promise.all(this.#opened().map((network) => network.rules())) };
  }

  async handover(): Promise<Handover> {
    const networks = await Promise.all(this.#shown.map((network) => network.handover()));
    const writtenScratchFiles = await this.#shared.cni?.handOver();
    await Promise.all(this.#shown.map((network) => network.handOverFiles()));
    const containers = writtenScratchFiles === undefined ? {} : { writtenScratchFiles };
    return { networks: networks.map((network) => ({ ...network, ...containers })) };
  }

  async reload(): Promise<Reloaded> {
    const reload = this.#shared.reload;
    return reload === undefined ? { problem: "the agent is still starting: try again" } : reload();
  }

  async rotate(force: boolean): Promise<Rotated> {
    return { networks: await Promise.all(this.#opened().map((network) => network.rotate(force))) };
  }

  /** A person asked for it, since the start. */
  get isHandedOver(): boolean {
    return this.#shown.some(({ isHandedOver }) => isHandedOver);
  }

  /** One that is not open yet does not hide the others. */
  #opened(): readonly NetworkReport[] {
    const networks = this.#shown;
    const opened = networks.filter(({ hasNetwork }) => hasNetwork);
    return opened.length > 0 ? opened : networks;
  }

  #findingsOf(read: (network: NetworkReport) => readonly Finding[]): Finding[] {
    return this.#shown.flatMap((network) => {
      if (!this.#isSeveral) return read(network);
      return read(network).map((one) => ({ ...one, evidence: `network ${network.name}: ${one.evidence}` }));
    });
  }

  /** What features recorded as it happened, and what is read from them now. */
  metrics(): MetricFamily[] {
    const { state, reasons } = this.state();
    recordAgent(this.#metrics.agent, {
      version: this.#version,
      startedAt: this.#startedAt,
      state,
      reasons,
      findings: this.#allFindings(this.#shown.flatMap(({ lastFindings }) => lastFindings)),
      certificates: this.#shared.store?.certificates?.inUse() ?? [],
    });
    for (const network of this.#shown) network.record();
    this.#metrics.agent.set("flannel_metrics_dropped_series", {}, this.#metrics.takeDropped());
    return this.#metrics.snapshot();
  }

  #certificateFindings(): Finding[] {
    return certificateFindings(this.#shared.store?.certificates?.inUse() ?? [], this.#options.etcd, Date.now());
  }
}

function isSameFinding(one: Finding, other: Finding): boolean {
  return one.name === other.name && one.evidence === other.evidence;
}
