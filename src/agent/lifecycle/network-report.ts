// The report of one network: state, status, plan. It reads and changes nothing, but for the handover.
import { setTimeout as delay } from "node:timers/promises";
import type { AgentOptions } from "../../config/agent-options.ts";
import type { Finding } from "../../doctor/finding.ts";
import { FlannelError } from "../../errors.ts";
import type { Address } from "../../ip/address.ts";
import { prefixesOf } from "../../lease/lease.ts";
import type { SubnetEnvContent } from "../../lease/subnet-env.ts";
import type { HostStateNews } from "../../store/subnet-store.ts";
import type { JournalEntry } from "../../telemetry/journal.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { Metrics, MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { Handover, NetworkStatus, Plan, Rotated, Rules } from "../control/control-protocol.ts";
import type { Peers, Why } from "../control/journal-protocol.ts";
import type { DesiredWay } from "../control/trace-protocol.ts";
import type { Agent } from "./agent.ts";
import { recordNetwork } from "./agent-metrics.ts";
import { reason, type StateReason, stateOf } from "./agent-state.ts";
import type { BridgeWish } from "./container-bridge.ts";
import { desiredWay } from "./desired-way.ts";
import { explain } from "./explanation.ts";
import { KeptHandover } from "./handover.ts";
import { type Rotation, rotateIdentity } from "./identity-rotation.ts";
import type { Network } from "./network.ts";
import { leaseFindings, networkFindings } from "./network-findings.ts";
import { networkNameOf, networkStatus } from "./network-status.ts";
import { listPeers } from "./peer-list.ts";
import { type ReportedState, StateFollower } from "./state-follower.ts";
import type { StoreView } from "./store-view.ts";

/** Usually tens of milliseconds. */
const LOOK_WITHIN_MS = 1_150;
/** Findings of an older look are not reported as those of this moment. */
const LOOK_AGAIN_MS = 60_000;

export class NetworkReport {
  readonly name: string;
  readonly metrics: MetricsRecorder;
  readonly #options: AgentOptions;
  readonly #follower = new StateFollower({ monotonicMs: () => performance.now(), wallMs: Date.now });
  #agent: Agent | undefined;
  /** Why no agent runs, where one did or was to. */
  #failure: string | undefined;
  /** As of the last `state`. */
  #last: (ReportedState & { readonly reasons: readonly StateReason[] }) | undefined;
  readonly #keptHandover = new KeptHandover();
  #onHandover: () => Promise<void> = () => Promise.resolve();
  #rotating: Promise<Rotation> | undefined;
  /** The look under way, and what the last one found. */
  #looking: Promise<readonly Finding[]> | undefined;
  #findings: readonly Finding[] = [];
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: AgentOptions, metrics: Metrics) {
    this.#options = options;
    this.name = networkNameOf(options);
    this.metrics = metrics.network(this.name);
  }

  follow(agent: Agent): void {
    this.#replace(agent);
    this.#follower.restart();
  }

  /** The network is not served for now. */
  fail(failure: string): void {
    this.#replace(undefined);
    this.#failure = failure;
  }

  #replace(agent: Agent | undefined): void {
    this.#agent = agent;
    this.#failure = undefined;
    this.#findings = [];
    this.#looking = undefined;
  }

  /** How the store answers; undefined while no agent runs. */
  get storeView(): StoreView | undefined {
    return this.#agent?.storeView;
  }

  /** The subnets that this host holds. */
  get ownLease(): Agent["ownLease"] {
    return this.#agent?.ownLease;
  }

  /** As told to others now, with the reasons of this moment. */
  state(): ReportedState & { readonly reasons: readonly StateReason[] } {
    const reasons = this.#agent?.reasons() ?? this.#reasonsWithoutAgent();
    this.#last = { ...this.#follower.follow(reasons), reasons };
    return this.#last;
  }

  /** `state` as last looked at: looking costs something where there are many networks. */
  get lastState(): ReportedState & { readonly reasons: readonly StateReason[] } {
    return this.#last ?? this.state();
  }

  #reasonsWithoutAgent(): StateReason[] {
    return this.#failure === undefined ? [reason("starting", "starting")] : [reason("network-failed", this.#failure)];
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

  /** What containers of this host have to know of the network; undefined while packets cannot flow. */
  forContainers(): SubnetEnvContent | undefined {
    const agent = this.#agent;
    if (agent?.config === undefined || agent.ownLease === undefined || agent.network === undefined) return undefined;
    if (!agent.isForwarding || stateOf(agent.reasons()) === "notReady") return undefined;
    const { config, ownLease: subnets, network } = agent;
    const { masquerade: ipMasq } = this.#options.rules;
    const ipv6MtuBytes = network.backend.mtuBytes(network.facts, 6);
    return { config, subnets, mtuBytes: network.mtuBytes, ipv6MtuBytes, ipMasq };
  }

  /** What the bridge of this host's containers has to fit; undefined without a lease that counts. */
  get bridgeWish(): BridgeWish | undefined {
    const agent = this.#agent;
    if (agent?.network === undefined || agent.ownLease === undefined || agent.isWarmStart) return undefined;
    const { ownLease, earlierSubnets, network } = agent;
    return { ownSubnets: prefixesOf(ownLease), earlierSubnets, mtuBytes: network.mtuBytes };
  }

  get hasNetwork(): boolean {
    return this.#agent?.network !== undefined;
  }

  /** Resolves with what was found last when a look takes long: a report does not wait for what it reports on. */
  async preflight(): Promise<readonly Finding[]> {
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

  async #look(): Promise<readonly Finding[]> {
    const agent = this.#agent;
    this.#lookedAtMs = performance.now();
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

  /** What the last look found, at once. Another look begins when that is long ago: the next one to ask hears of it. */
  get lastFindings(): readonly Finding[] {
    if (performance.now() - this.#lookedAtMs > LOOK_AGAIN_MS) void this.preflight().catch(() => undefined);
    return this.#findings;
  }

  /** Besides those of `preflight`: of what the network has in the kernel, and of its lease. */
  get objectFindings(): readonly Finding[] {
    const agent = this.#agent;
    if (agent === undefined) return [];
    return [...(agent.network === undefined ? [] : networkFindings(agent.network)), ...leaseFindings(agent)];
  }

  get configFindings(): readonly Finding[] {
    return this.#agent?.configNews.findings ?? [];
  }

  summary(): Record<string, unknown> {
    const own = this.ownLease;
    return { subnet: own?.subnet, ipv6Subnet: own?.ipv6Subnet, peers: this.#agent?.network?.plan.plannedPeers };
  }

  status(): NetworkStatus {
    return networkStatus(this.#agent, this.#options);
  }

  /** Where there are several: with the state of this one. */
  statusWithState(): NetworkStatus {
    const { state, changedAtMs, pendingState, reasons } = this.state();
    const stateChangedAt = new Date(changedAtMs).toISOString();
    const pending = pendingState === undefined ? {} : { pendingState };
    return { ...this.status(), state, stateChangedAt, ...pending, reasons: [...reasons] };
  }

  peers(): Peers["networks"][number] {
    return { name: this.name, peers: this.#agent === undefined ? [] : listPeers(this.#agent) };
  }

  /** See `explain`. */
  why(of: string, entries: readonly JournalEntry[]): Why["networks"][number] {
    const agent = this.#agent;
    if (agent === undefined) return { name: this.name, objects: [], findings: [], entries: [] };
    const findings = [...this.lastFindings, ...this.objectFindings];
    return { name: this.name, ...explain(agent, of, { findings, entries }) };
  }

  /** See `desiredWay`. */
  trace(address: Address): DesiredWay {
    const network = this.#networkOrRefuse();
    const { ownLease, table } = this.#agent ?? {};
    return desiredWay(
      {
        name: this.name,
        ...(ownLease !== undefined && { own: ownLease }),
        ...{ peers: table?.peers() ?? [], plan: network.plan, backend: network.backend },
        ...{ context: network.checks.context, mtuBytes: (family) => network.backend.mtuBytes(network.facts, family) },
      },
      address,
    );
  }

  async plan(): Promise<Plan["networks"][number]> {
    const network = this.#networkOrRefuse();
    return { name: this.name, ...(await network.planLines()) };
  }

  async rules(): Promise<Rules["networks"][number]> {
    const { firewall } = this.#networkOrRefuse();
    const { mode, reason: why } = firewall.status();
    const { wanted, found, difference } = await firewall.listing();
    const listing = { wanted: [...wanted], found: [...found], difference: [...difference] };
    return { name: this.name, mode, reason: why, ...listing };
  }

  async handover(): Promise<Handover["networks"][number]> {
    const { rewrittenRoutes, releasedDevices } = await this.#keptHandover.begin(this.#networkOrRefuse());
    return { name: this.name, rewrittenRoutes, releasedDevices: [...releasedDevices] };
  }

  /** The last part of a handover, whose failure leaves the others done. Throws `FILE_FAILED`. */
  async handOverFiles(): Promise<void> {
    await this.#onHandover();
  }

  /** See `rotateIdentity`. */
  async rotate(force: boolean): Promise<Rotated["networks"][number]> {
    this.#networkOrRefuse();
    if (this.#agent === undefined) throw new FlannelError("INTERNAL", "a network without an agent");
    this.#rotating ??= rotateIdentity(this.#agent, force).finally(() => {
      this.#rotating = undefined;
    });
    const { publicKey, followed, pending, staticPeers } = await this.#rotating;
    return {
      name: this.name,
      publicKey,
      followed: [...followed],
      pending: [...pending],
      staticPeers: [...staticPeers],
    };
  }

  /** `work` is what `handOverFiles` does. */
  onHandover(work: () => Promise<void>): void {
    this.#onHandover = work;
  }

  /** A person asked for it, since the start. */
  get isHandedOver(): boolean {
    return this.#keptHandover.isBegun;
  }

  /** See `KeptHandover.keep`. */
  keepHandedOver(logger: Logger): void {
    this.#keptHandover.keep(this.#agent?.network, logger);
  }

  /** Brings the metrics up to date that are read from the agent. */
  record(): void {
    if (this.#agent !== undefined) recordNetwork(this.metrics, this.#agent);
  }

  #networkOrRefuse(): Network {
    const network = this.#agent?.network;
    if (network !== undefined) return network;
    const reasons = this.state()
      .reasons.map(({ message }) => message)
      .join("; ");
    throw new FlannelError("CONFIG_MISSING", `the agent has no network configuration yet (${reasons})`);
  }
}
