// What the agent tells about itself: state, status, plan. It reads and changes nothing, but for the handover.
import { setTimeout as delay } from "node:timers/promises";
import type { AgentOptions } from "../../config/agent-options.ts";
import type { CheckFinding, Finding } from "../../doctor/finding.ts";
import { FlannelError } from "../../errors.ts";
import { hostStateLines } from "../../host/kinds/host-state.ts";
import type { SubnetEnvContent } from "../../lease/subnet-env.ts";
import type { HostStateNews, SubnetStore } from "../../store/subnet-store.ts";
import { descriptorShortage } from "../../sys/spare-descriptors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { Metrics, MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { Handover, MetricsAnswer, Plan, Rules, Status } from "../control/control-protocol.ts";
import type { ControlHandlers } from "../control/control-server.ts";
import type { Agent } from "./agent.ts";
import { recordAgent } from "./agent-metrics.ts";
import { reason, type StateReason, stateOf } from "./agent-state.ts";
import { bridgeWish } from "./bridge-wish.ts";
import { certificateFindings } from "./certificate-findings.ts";
import type { CniKeeper } from "./cni-keeper.ts";
import { descriptorFindings } from "./descriptor-findings.ts";
import { KeptHandover } from "./handover.ts";
import { leaseFindings } from "./lease-findings.ts";
import type { Network } from "./network.ts";
import { networkNameOf, networkStatus } from "./network-status.ts";
import { ruleFindings } from "./rule-findings.ts";
import { settingFindings } from "./setting-findings.ts";
import { StateFollower, type ToldState } from "./state-follower.ts";

/** Usually tens of milliseconds. */
const LOOK_WITHIN_MS = 1_500;

export class AgentReport {
  readonly handlers: ControlHandlers = {
    status: () => this.status(),
    plan: () => this.plan(),
    rules: () => this.rules(),
    handover: async () => this.handover(),
    metrics: async () => this.metrics(),
  };
  readonly #options: AgentOptions;
  readonly #version: string;
  readonly #metrics: Metrics;
  /** For what there is today: one network for each agent. */
  readonly networkMetrics: MetricsRecorder;
  readonly #startedAt = new Date();
  readonly #follower = new StateFollower({ monotonicMs: () => performance.now(), wallMs: Date.now });
  #agent: Agent | undefined;
  #store: SubnetStore | undefined;
  #cni: CniKeeper | undefined;
  readonly #keptHandover = new KeptHandover();
  /** The look under way, and what the last one found. */
  #looking: Promise<readonly CheckFinding[]> | undefined;
  #findings: readonly CheckFinding[] = [];

  constructor(options: AgentOptions, version: string, metrics: Metrics) {
    this.#options = options;
    this.#version = version;
    this.#metrics = metrics;
    this.networkMetrics = metrics.network(networkNameOf(options));
  }

  follow(agent: Agent, store: SubnetStore, cni?: CniKeeper): void {
    this.#agent = agent;
    this.#cni = cni;
    this.#findings = [];
    this.#looking = undefined;
    this.#store = store;
    this.#follower.beginAnew();
  }

  /** As told to others now, with the reasons of this moment. */
  state(): ToldState & { readonly reasons: readonly StateReason[] } {
    const reasons = this.#agent?.reasons() ?? [reason("starting", "starting")];
    return { ...this.#follower.follow(reasons), reasons };
  }

  /** The told state, for who reads it in the store. */
  forOthers(): HostStateNews {
    const { state, reasons } = this.state();
    const against = reasons.filter((found) => found.state === "notReady");
    return { isAvailable: state !== "notReady", reasons: against.map(({ message }) => message) };
  }

  get isForwarding(): boolean {
    return this.#agent?.isForwarding === true;
  }

  /** What containers of this host are to be told about the network; undefined while packets cannot flow. */
  forContainers(): SubnetEnvContent | undefined {
    const agent = this.#agent;
    if (agent?.config === undefined || agent.ownLease === undefined || agent.network === undefined) return undefined;
    if (!agent.isForwarding || stateOf(agent.reasons()) === "notReady") return undefined;
    const { config, ownLease: subnets, network } = agent;
    const { masquerade: ipMasq } = this.#options.rules;
    const ipv6MtuBytes = network.backend.mtuBytes(network.facts, 6);
    return { config, subnets, mtuBytes: network.mtuBytes, ipv6MtuBytes, ipMasq };
  }

  /** Looks after what CNI keeps, should it be time to. */
  tendCni(): void {
    this.#cni?.follow(bridgeWish(this.#agent));
  }

  get hasNetwork(): boolean {
    return this.#agent?.network !== undefined;
  }

  /** Resolves with what was found last when a look takes long: a report does not wait for what it reports on. */
  async preflight(): Promise<readonly CheckFinding[]> {
    this.#looking ??= this.#look();
    const late = new AbortController();
    const known = delay(LOOK_WITHIN_MS, undefined, { signal: late.signal, ref: false }).then(() => this.#findings);
    try {
      return await Promise.race([this.#looking, known]);
    } finally {
      known.catch(() => undefined);
      late.abort();
    }
  }

  async #look(): Promise<readonly CheckFinding[]> {
    const agent = this.#agent;
    try {
      const found = (await agent?.network?.checks.all()) ?? [];
      // Another one may have begun meanwhile, with another network.
      if (agent === this.#agent) this.#findings = found;
      agent?.dropWatch.take(found);
      return this.#findings;
    } finally {
      if (agent === this.#agent) this.#looking = undefined;
    }
  }

  summary(): Record<string, unknown> {
    const own = this.#agent?.ownLease;
    return { subnet: own?.subnet, ipv6Subnet: own?.ipv6Subnet, peers: this.#agent?.network?.plan.plannedPeers };
  }

  async status(): Promise<Status> {
    const agent = this.#agent;
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
      findings: [
        ...findings,
        ...descriptorFindings(descriptorShortage()),
        ...(this.#cni?.findings ?? []),
        ...this.#ruleFindings(),
        ...settingFindings(agent?.network?.hostFailures ?? []),
        ...(agent === undefined ? [] : leaseFindings(agent)),
        ...this.#certificateFindings(),
        ...(agent?.configNews.findings ?? []),
      ],
      store: this.#describeStore(),
      networks: [networkStatus(agent, this.#options)],
    };
  }

  async plan(): Promise<Plan> {
    const network = this.#networkOrRefuse();
    const difference = [...(await network.reconciler.difference())];
    return { networks: [{ name: this.#name, desired: hostStateLines(network.plan.state), difference }] };
  }

  async rules(): Promise<Rules> {
    const { firewall } = this.#networkOrRefuse();
    const { mode, reason: why } = firewall.status();
    const { wanted, found, difference } = await firewall.listing();
    const listing = { wanted: [...wanted], found: [...found], difference: [...difference] };
    return { networks: [{ name: this.#name, mode, reason: why, ...listing }] };
  }

  async handover(): Promise<Handover> {
    const network = this.#networkOrRefuse();
    const { rewrittenRoutes, releasedDevices } = await this.#keptHandover.begin(network);
    const writtenScratchFiles = await this.#cni?.handOver();
    const containers = writtenScratchFiles === undefined ? {} : { writtenScratchFiles };
    return { networks: [{ name: this.#name, rewrittenRoutes, releasedDevices: [...releasedDevices], ...containers }] };
  }

  /** A person asked for it, since the start. */
  get isHandedOver(): boolean {
    return this.#keptHandover.isBegun;
  }

  /** See `KeptHandover.keep`. */
  keepHandedOver(logger: Logger): void {
    this.#keptHandover.keep(this.#agent?.network, logger);
  }

  get #name(): string {
    return networkNameOf(this.#options);
  }

  /** What features recorded as it happened, and what is read from them now. */
  metrics(): MetricsAnswer {
    if (this.#agent !== undefined) recordAgent(this.networkMetrics, this.#agent);
    return { metrics: this.#metrics.snapshot() };
  }

  #networkOrRefuse(): Network {
    const network = this.#agent?.network;
    if (network !== undefined) return network;
    const reasons = this.state()
      .reasons.map(({ message }) => message)
      .join("; ");
    throw new FlannelError("CONFIG_MISSING", `the agent has no network configuration yet (${reasons})`);
  }

  #ruleFindings(): Finding[] {
    const firewall = this.#agent?.network?.firewall;
    return firewall === undefined ? [] : ruleFindings(firewall.status());
  }

  #certificateFindings(): Finding[] {
    return certificateFindings(this.#store?.certificates?.inUse() ?? [], this.#options.etcd, Date.now());
  }

  #describeStore(): Status["store"] {
    const certificates = this.#store?.certificates?.inUse() ?? [];
    const agent = this.#agent;
    const ageMs = agent?.storeView.ageMs;
    const problem = agent?.storeView.outage;
    return {
      description: this.#store?.description ?? "",
      connected: agent?.storeView.isConnected ?? false,
      ...(problem !== undefined && { problem }),
      ...(ageMs !== undefined && { ageSeconds: Math.round(ageMs) / 1_000 }),
      ...(certificates.length > 0 && {
        certificates: certificates.map(({ role, source, endsAtMs }) => ({
          role,
          source,
          endsAt: new Date(endsAtMs).toISOString(),
        })),
      }),
    };
  }
}
