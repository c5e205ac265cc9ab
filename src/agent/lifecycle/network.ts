// Our half of the host: backend + facts + leases → desired state → reconciler. Everything that changes comes in through
// a setter, and each setter plans again; nothing else decides what the host looks like.
import { BackOff } from "../../async/back-off.ts";
import { ReconcileLoop } from "../../async/reconcile-loop.ts";
import type { Backend, BackendPlan, HostFacts, RuntimeStatus } from "../../backend/backend.ts";
import { type Identities, matchesIdentity } from "../../backend/identities.ts";
import type { MasqueradeExclude, NetworkConfig } from "../../config/network-config.ts";
import { servedConfig } from "../../config/served-config.ts";
import type { Finding } from "../../doctor/finding.ts";
import type { PlannedWay } from "../../doctor/peer-ways.ts";
import { describeError } from "../../errors.ts";
import type { Firewall } from "../../firewall/firewall.ts";
import { emptyHostState, hostStateLines } from "../../host/kinds/host-state.ts";
import { routeKind } from "../../host/kinds/route.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import type { ChangeCause } from "../../host/reconcile/change-cause.ts";
import { Reconciler } from "../../host/reconcile/reconciler.ts";
import { type Family, familyOf } from "../../ip/address.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import type { LeaseTable } from "../../lease/lease-table.ts";
import { ExternalInterfaceWatch } from "../../underlay/external-interface-watch.ts";
import type { FollowedInterface } from "../../underlay/follow-interface.ts";
import type { ScopedFailure } from "./agent-state.ts";
import { withBlackholes } from "./blackholes.ts";
import { checkContext, type NetworkContext, plannedScan } from "./check-context.ts";
import { ClaimLog } from "./claim-findings.ts";
import { FailureScopes } from "./failure-scope.ts";
import { HostChecks } from "./host-checks.ts";
import type { NetworkOptions } from "./network-options.ts";
import { NetworkRuntime } from "./network-runtime.ts";
import { OccupiedAddresses } from "./occupied-addresses.ts";
import { PeerProgramming } from "./peer-programming.ts";
import { PlanFacts } from "./plan-facts.ts";
import { PlannedWays } from "./planned-ways.ts";
import { withIsolation, withRouting } from "./policy-routing.ts";
import { RuleWriting } from "./rule-writing.ts";

/** Of a plan that could not be made, as when the kernel did not answer. */
const REPLAN = { firstMs: 1_000, maxMs: 30_000 } as const;
const NO_PLAN: BackendPlan = { state: emptyHostState, plannedPeers: 0, skipped: [] };

export class Network implements AsyncDisposable {
  readonly reconciler: Reconciler;
  readonly checks: HostChecks;
  readonly runtime: NetworkRuntime;
  readonly programming: PeerProgramming;
  readonly #options: NetworkOptions;
  /** Inside the network, in use for something else. */
  readonly occupied: OccupiedAddresses;
  #interfaceWatch: ExternalInterfaceWatch | undefined;
  readonly planFacts: PlanFacts;
  readonly #ruleWriting: RuleWriting;
  #backend: Backend;
  #masqueradeExclude: MasqueradeExclude | undefined;
  #own: LeasedSubnets | undefined;
  #peers: readonly Lease[] = [];
  /** False until a store told the whole truth: what is not desired is left alone. */
  #isComplete = false;
  #plan: BackendPlan = NO_PLAN;
  readonly #claimLog: ClaimLog;
  readonly #ways = new PlannedWays();
  #scopes = new FailureScopes(emptyHostState);
  readonly #planning: ReconcileLoop<undefined>;
  /** `overtaken`: what the pass under way plans from has changed since it began. */
  #planState: "idle" | "due" | "planning" | "overtaken" = "idle";
  readonly #planBackOff = new BackOff(REPLAN);
  #planFailure = "";
  /** Of the last change of what is planned from. */
  #because: ChangeCause = { cause: "start" };
  #hadGaps = false;
  /** This host's own IPv6 address went away; IPv4 is served. */
  #isIpv6Lost = false;
  /** Whether the last finished pass included the own lease, and the peers as known now. */
  #programmed = { own: false, peers: false, everPeers: false };

  private constructor(options: NetworkOptions, reconciler: Reconciler, occupied: OccupiedAddresses) {
    this.#options = options;
    this.reconciler = reconciler;
    this.occupied = occupied;
    this.#planning = new ReconcileLoop({ pass: () => this.#planOnce(), debounceMs: 0, signal: options.signal });
    this.#claimLog = new ClaimLog(options.logger);
    this.planFacts = new PlanFacts(options, () => this.#replan());
    this.#ruleWriting = new RuleWriting(options.firewall, options.onPass);
    this.#backend = options.backend;
    this.#masqueradeExclude = options.masqueradeExclude;
    this.runtime = new NetworkRuntime(options);
    this.programming = new PeerProgramming((route) => this.#isProgrammed(route), options.metrics);
    this.checks = new HostChecks({
      rtnetlink: options.rtnetlink,
      findPacketDrops: (context) => options.firewall.packetDrops(plannedScan(context, this.#plan, this.#peers)),
      unreadableRules: () => options.firewall.status().unreadable,
      context: () => this.#checkContext(),
      ...{ logger: options.logger, probes: options.probes },
      onChange: options.onPass,
      onMtu: () => this.#followPathMtus(),
    });
  }

  static async open(options: NetworkOptions): Promise<Network> {
    let opened: Network | undefined;
    let reconciler: Reconciler | undefined;
    const occupied = await OccupiedAddresses.open({
      ...options,
      // What else uses its addresses on this host does so by other tables.
      ...(options.routing !== undefined && { networks: [] }),
      ...options.occupied,
      own: () => (opened === undefined ? undefined : opened.#own),
      furtherNetworks: () => (opened?.backend ?? options.backend).furtherNetworks ?? [],
      onChange: () => (opened === undefined ? undefined : opened.#replan()),
    });
    try {
      reconciler = await Network.#openReconciler(options, () => opened);
      opened = new Network(options, reconciler, occupied);
      const { backend, facts } = opened;
      options.pathMtuRepair?.forgetUsual((family) => backend.mtuBytes(facts, family));
      opened.#interfaceWatch = await ExternalInterfaceWatch.open({
        ...options,
        initial: options.externalInterface,
        onChange: (followed) => (opened === undefined ? undefined : opened.#setExternalInterface(followed)),
      });
      return opened;
    } catch (error) {
      for (const part of [opened?.checks, reconciler, occupied]) await part?.[Symbol.asyncDispose]();
      throw error;
    }
  }

  static #openReconciler(options: NetworkOptions, opened: () => Network | undefined): Promise<Reconciler> {
    const { backend, staleDevices, staleTables, isIsolated, routing, networks, logger, metrics, signal } = options;
    return Reconciler.open({
      ...{ staleTables, isIsolated, notices: options.rtnetlink },
      ...(routing !== undefined && { routeTable: routing.table }),
      devices: [...new Set([...backend.devices, ...staleDevices])],
      ownedNetworks: networks,
      logger,
      metrics,
      signal,
      // A pass we wait for is reported when we know its result: until then its peers would seem to be missing.
      onChange: () => {
        const network = opened();
        if (network !== undefined && network.#planState !== "idle") return;
        network?.settlePeers();
        // What failed before may be in place now, and the other way round.
        if (network?.hasGaps === true) network.#followWays().catch(() => undefined);
        options.onPass();
      },
      onNotice: (messages) => opened()?.checks.follow(messages),
    });
  }

  get backend(): Backend {
    return this.#backend;
  }

  /** Those that this host serves. */
  get families(): ReadonlySet<Family> {
    return this.#options.selection.families;
  }

  get ipv6Reason(): string | undefined {
    return this.#options.ipv6Reason;
  }

  get facts(): HostFacts {
    return this.planFacts.current;
  }

  /** Whether this network's packets are masqueraded. */
  get isMasqueraded(): boolean {
    return this.#options.rules.masquerade;
  }

  get identities(): Identities {
    return this.planFacts.identities;
  }

  /** The identity begun last is in use, as far as the host is concerned. */
  get isIdentityInUse(): boolean {
    return !this.planFacts.isRenewing && this.#programmed.peers;
  }

  get plan(): BackendPlan {
    return this.#plan;
  }

  /** The desired state, and how the host differs from it: a line for each object. Reads the host. */
  async planLines(): Promise<{ desired: string[]; difference: string[] }> {
    const difference = await this.reconciler.difference();
    const ofRuntime = this.runtime.planLines;
    return {
      desired: [...hostStateLines(this.#plan.state), ...ofRuntime.desired],
      difference: [...difference, ...ofRuntime.difference],
    };
  }

  get mtuBytes(): number {
    return this.#backend.mtuBytes(this.facts);
  }

  /** See `PeerProgramming.count`. */
  get programmedPeers(): number {
    const { unreachedPeers } = this.runtime;
    return this.programming.count({ plan: this.#plan, dataPlaneProblem: this.dataPlaneProblem, unreachedPeers });
  }

  #isProgrammed(route: HostRoute): boolean {
    return this.reconciler.isProgrammed(routeKind, routeKind.key(route));
  }

  #checkContext(): NetworkContext {
    const { networks, routing, selection, occupied } = this.#options;
    return checkContext({
      networks: routing === undefined ? networks : [],
      selection,
      own: this.#own,
      earlierSubnets: occupied.earlierSubnets(this.#own),
      facts: this.facts,
      backend: this.#backend,
      plan: this.#plan,
    });
  }

  get pathMtuFindings(): readonly Finding[] {
    return this.#options.pathMtuRepair?.findings ?? [];
  }

  /** Kernel objects that could not be programmed, and what the backend's runtime could not do. */
  get hostFailures(): readonly ScopedFailure[] {
    const failed = this.reconciler.failures().map((failure) => this.#scopes.describe(failure));
    return [...failed, ...this.runtime.failures];
  }

  get firewall(): Firewall {
    return this.#options.firewall;
  }

  /** Why the backend's runtime does not do its part; undefined when it does, or when the kernel does everything. */
  get dataPlaneProblem(): string | undefined {
    return this.#plan.runtime === undefined ? undefined : this.runtime.problem;
  }

  /** Undefined for backends that tell nothing of what they carried. */
  dataPlane(): RuntimeStatus | undefined {
    return this.runtime.status ?? this.#backend.observedTraffic?.(this.#peers, this.reconciler.observed);
  }

  /** See `DeviceClaims.renew`. */
  renew(): string[] {
    return this.#options.held.renew();
  }

  get isOwnProgrammed(): boolean {
    return this.#programmed.own && this.#own !== undefined && this.#ruleWriting.isWrittenFor(this.#own);
  }

  get arePeersProgrammed(): boolean {
    return this.#programmed.peers;
  }

  /** At any time since the start. */
  get werePeersProgrammed(): boolean {
    return this.#programmed.everPeers;
  }

  /** Throws `CONFIG_INVALID` when the host cannot serve the backend as it is now. */
  attributes(): LeaseAttributes {
    return this.#backend.attributes(this.facts);
  }

  /** Whether a lease announces an identity of this host. */
  announcesUs(attributes: LeaseAttributes): boolean {
    return matchesIdentity(this.#options.backends.modules, this.identities, attributes);
  }

  setOwn(own: Lease): void {
    this.#own = own;
    this.#replan({ cause: "lease", revision: String(own.revision) });
  }

  setPeers(table: LeaseTable): void {
    const peers = table.peers();
    this.programming.follow(this.#peers, peers);
    this.#peers = peers;
    this.#isComplete = table.hasSnapshot;
    const { revision } = table;
    this.#replan(revision === undefined ? { cause: "start" } : { cause: "lease", revision: String(revision) });
  }

  /** All of it, also families that this host does not serve. */
  setConfig(config: NetworkConfig): void {
    this.#backend = this.#options.backends.create(servedConfig(config, this.families));
    this.#masqueradeExclude = config.masqueradeExclude;
    this.#replan({ cause: "configuration" });
  }

  #setExternalInterface(followed: FollowedInterface): void {
    const previous = this.facts.externalInterface;
    this.planFacts.setExternalInterface(followed.interface);
    this.#isIpv6Lost = followed.ipv6Reason !== undefined;
    this.#replan({ cause: "interface" });
    this.#options.onExternalInterface(followed, previous);
  }

  /** While a pass runs, the latest facts wait for its end, so that a burst costs one more pass. */
  #replan(because: ChangeCause = { cause: "notification" }): void {
    this.#because = because;
    this.#planState = this.#planState === "idle" || this.#planState === "due" ? "due" : "overtaken";
    this.#programmed.peers = false;
    this.#planning.queuePass();
  }

  async #planOnce(): Promise<{ result: undefined; repeatInMs?: number }> {
    const { logger, onPass } = this.#options;
    if (this.#planning.isStopped) return { result: undefined };
    this.#planState = "planning";
    const failure = await this.#pass().then(
      () => "",
      (error: unknown) => describeError(error),
    );
    if (failure !== "" && this.#planning.isStopped) return { result: undefined };
    if (failure !== "" && failure !== this.#planFailure)
      logger.error("plan.failed", "cannot plan the desired state of this host; retrying", { error: failure });
    this.#planFailure = failure;
    onPass();
    this.#planState = this.#planState === "planning" ? "idle" : "due";
    if (failure !== "") return { result: undefined, repeatInMs: this.#planBackOff.nextMs() };
    this.#planBackOff.reset();
    return { result: undefined };
  }

  async #pass(): Promise<void> {
    // All of one moment: peers that come while the facts are gathered would be judged without those about them.
    const [own, peers, prune] = [this.#own, this.#peers, this.#isComplete];
    if (own === undefined) return;
    const facts = await this.planFacts.gather(peers, this.#backend, () => this.occupied.upToDate());
    this.#plan = this.#planFor(own, peers, facts);
    this.programming.plan(this.#plan, peers);
    this.#claimLog.follow(this.#plan.skipped);
    this.#scopes = new FailureScopes(this.#planFor(own, [], this.facts).state);
    const { state, runtime } = this.#plan;
    this.#ruleWriting.write(own, {
      ...this.#options,
      masqueradeExclude: this.#masqueradeExclude,
      furtherNetworks: this.#backend.furtherNetworks ?? [],
      externalInterface: this.facts.externalInterface,
      peers,
      clampsMss: this.#options.pathMtuRepair?.isNeeded === true,
    });
    // Together: on a restart the device is there, and its packets may be waiting.
    const removal = { prune, forbidden: this.occupied.forbidden(own), because: this.#because };
    await Promise.all([this.runtime.apply(runtime, prune), this.reconciler.setDesired(state, removal)]);
    this.settlePeers();
    await this.#followWays();
    const isCurrent = this.#planState === "planning";
    this.#programmed = { own: true, peers: isCurrent, everPeers: this.#programmed.everPeers || isCurrent };
  }

  /** After a pass. */
  settlePeers(): void {
    const hasFailed = this.reconciler.failures().length > 0 || this.runtime.unreachedPeers > 0;
    this.programming.settle(!hasFailed && this.dataPlaneProblem === undefined);
  }

  #planFor(own: LeasedSubnets, peers: readonly Lease[], facts: HostFacts): BackendPlan {
    const { rules, routing, isIsolated, networks, selection, pathMtuRepair } = this.#options;
    const backendPlan = this.#backend.plan(own, peers, facts);
    if (routing !== undefined) return withRouting(backendPlan, routing, selection.families, this.#backend.devices);
    const repaired = pathMtuRepair?.applyTo(backendPlan) ?? backendPlan;
    const plan = isIsolated ? withIsolation(repaired, networks) : repaired;
    return rules.blackholeRoute ? withBlackholes(plan, own, facts.occupied) : plan;
  }

  #followPathMtus(): void {
    const { pathMtuRepair, probes } = this.#options;
    if (pathMtuRepair === undefined || probes === undefined) return;
    const isOther = pathMtuRepair.follow(probes.probedPaths);
    probes.setRouteMtus((subnet) => pathMtuRepair.bytesOf(subnet));
    if (isOther) this.#replan({ cause: "probe" });
  }

  /** Something planned is not in place, or was not when the ways were last followed. */
  get hasGaps(): boolean {
    return this.#hadGaps || this.reconciler.failures().length > 0;
  }

  #followWays(): Promise<void> {
    this.#hadGaps = this.reconciler.failures().length > 0;
    // Which packets go by a table of its own depends on rules that the kernel cannot be asked about without knowing the packets.
    if (this.#options.routing !== undefined) return this.checks.setWays([]);
    const isProgrammed = (route: HostRoute) => this.#isProgrammed(route);
    const ways = this.#ways.of(this.#plan, this.#peers, isProgrammed, this.reconciler.isAsWanted);
    // Our own lost address is reported as that, not as peers that are down.
    const isServed = ({ publicIp, subnet }: PlannedWay) => familyOf(publicIp ?? subnet) !== 6;
    return this.checks.setWays(this.#isIpv6Lost ? ways.filter(isServed) : ways);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#interfaceWatch?.[Symbol.asyncDispose]();
    await this.planFacts[Symbol.asyncDispose]();
    await this.occupied[Symbol.asyncDispose]();
    await this.#planning[Symbol.asyncDispose]();
    await this.runtime[Symbol.asyncDispose]();
    await this.checks[Symbol.asyncDispose]();
    await this.reconciler[Symbol.asyncDispose]();
    await this.#options.held[Symbol.asyncDispose]();
  }
}
