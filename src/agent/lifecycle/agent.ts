// The agent: wires store, lease, network and files together and follows what changes. It decides nothing about the host
// itself. Order of start and stop: docs/architecture.md.
import { compareNetworkConfig } from "../../config/compare-network-config.ts";
import type { NetworkConfig } from "../../config/network-config.ts";
import { poolSize } from "../../config/pool-size.ts";
import { FlannelError, isCancelled } from "../../errors.ts";
import type { Prefix } from "../../ip/address.ts";
import type { LeaseChange, LeasedSubnets, OwnLease } from "../../lease/lease.ts";
import { hasSameSubnets } from "../../lease/lease-owner.ts";
import { LeaseTable } from "../../lease/lease-table.ts";
import type { LeaseRequest, NetworkConfigDocument } from "../../store/subnet-store.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { FollowedInterface } from "../../underlay/follow-interface.ts";
import { readSubnetFile } from "../state/subnet-file.ts";
import type { RememberedState } from "../state/warm-state.ts";
import { AgentFiles } from "./agent-files.ts";
import { type AgentEnd, type AgentParts, endOf } from "./agent-parts.ts";
import type { StateReason } from "./agent-state.ts";
import { announce } from "./announce.ts";
import { type ActiveConfig, type ConfigChange, faultOfConfig, judgeConfigChange, readConfig } from "./config-change.ts";
import { ConfigNews } from "./config-news.ts";
import { DropWatch } from "./drop-watch.ts";
import { EarlierSubnets } from "./earlier-subnets.ts";
import { HostDemands } from "./host-demands.ts";
import { isMoved, logInterface, logIpv6Arrival } from "./interface-news.ts";
import { logAcquired } from "./lease-news.ts";
import { LeaseRenewer } from "./lease-renewer.ts";
import { leaseRequest } from "./lease-request.ts";
import { MissingPeers } from "./missing-peers.ts";
import type { Network } from "./network.ts";
import { leasingInTurn } from "./network-claims.ts";
import { openNetwork } from "./open-network.ts";
import { currentReasons } from "./state-facts.ts";
import { acquireLease, runStoreSession, type Waiting, waitsForAccess } from "./store-session.ts";
import { StoreView } from "./store-view.ts";
import { StoreWay } from "./store-way.ts";
import { logWarmStart, prepareWarmStart, WarmStart } from "./warm-start.ts";

export class Agent implements AsyncDisposable {
  readonly ended: Promise<AgentEnd>;
  readonly storeView: StoreView;
  readonly table = new LeaseTable();
  readonly configNews: ConfigNews;
  readonly dropWatch: DropWatch;
  readonly #parts: AgentParts;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #files: AgentFiles;
  readonly #previous: LeasedSubnets;
  readonly #missing: MissingPeers;
  readonly #demands: HostDemands;
  readonly #earlier: EarlierSubnets;
  readonly #storeWay: StoreWay;
  #config: ActiveConfig | undefined;
  #network: Network | undefined;
  #opening: Promise<Network> | undefined;
  #own: OwnLease | undefined;
  #renewer: LeaseRenewer | undefined;
  /** As of its last change. */
  #interface: FollowedInterface | undefined;
  /** Running on remembered state that the store has not confirmed. */
  #isWarm = false;
  #session: Promise<void> = Promise.resolve();
  #warmStart: WarmStart | undefined;
  #end: (end: AgentEnd) => void = () => undefined;

  private constructor(parts: AgentParts) {
    this.#parts = parts;
    this.#signal = AbortSignal.any([parts.signal, this.#abort.signal]);
    this.storeView = new StoreView(parts.logger, parts.metrics);
    this.#storeWay = new StoreWay(parts, this.storeView);
    this.configNews = new ConfigNews(parts.logger);
    this.dropWatch = new DropWatch(async () => (await this.#network?.checks.packetDrops()) ?? [], parts.logger);
    ({ promise: this.ended, resolve: this.#end } = Promise.withResolvers<AgentEnd>());
    this.#previous = readSubnetFile(parts.options.subnetFile, (message) =>
      parts.logger.warn("subnet-file.odd", message, { file: parts.options.subnetFile }),
    );
    this.#earlier = new EarlierSubnets(parts.remembered?.earlierSubnets, this.#previous, parts.remembered?.own);
    this.#missing = new MissingPeers(this.table, parts.logger, () => this.#publishPeers(), this.#signal);
    this.#demands = new HostDemands(parts.store.host, () => this.#end({ type: "restart" }));
    this.#files = new AgentFiles(parts.options, parts.warmState, parts.logger, parts.onSettled);
  }

  static start(parts: AgentParts): Agent {
    const agent = new Agent(parts);
    agent.#session = agent.#runSession();
    // Restarted, it knows that what is remembered is outdated: going on with that would only make it restart again.
    if (parts.remembered !== undefined && !parts.isRestart) {
      const { remembered } = parts;
      const times = prepareWarmStart(parts.backends, remembered);
      agent.#warmStart = new WarmStart(() => agent.#startWarm(remembered), parts.logger, times);
    }
    return agent;
  }

  get network(): Network | undefined {
    return this.#network;
  }

  /** Of the own lease, on the wall clock as it is set now; undefined for a reservation. */
  get leaseExpiresAtMs(): number | undefined {
    return this.#renewer === undefined ? this.#own?.expiresAtMs : this.#renewer.expiresAtMs;
  }

  get ownLease(): OwnLease | undefined {
    return this.#own;
  }

  /** Of leases this host had before its present one. */
  get earlierSubnets(): readonly Prefix[] {
    return this.#earlier.besides(this.#own);
  }

  get config(): NetworkConfig | undefined {
    return this.#config?.config;
  }

  /** Subnets that the configuration allows; undefined before it is known, and where others give hosts their subnets. */
  get poolSize(): number | undefined {
    const { config } = this;
    return config === undefined || this.#parts.options.store === "kubernetes"
      ? undefined
      : poolSize([config.ipv4, config.ipv6]);
  }

  get isWarmStart(): boolean {
    return this.#isWarm;
  }

  /** Every reason against `ready`, as of now. */
  reasons(): StateReason[] {
    return currentReasons({
      own: this.#own,
      renewer: this.#renewer,
      network: this.#network,
      table: this.table,
      storeView: this.storeView,
      dropWatch: this.dropWatch,
      interfaceProblem: this.#interface?.reason,
      ipv6Problem: this.#network?.ipv6Reason ?? this.#interface?.ipv6Reason,
      recordProblem: this.#parts.store.host?.problem(),
      isSubnetFileWritten: this.#files.isSubnetFileCurrent,
      arePeersProgrammed: this.#arePeersProgrammed,
      isWarmStart: this.#isWarm,
    });
  }

  /** Whether forwarding is set up as far as we know it: what a service manager waits for. */
  get isForwarding(): boolean {
    return this.#own !== undefined && this.#files.isSubnetFileCurrent && this.#arePeersProgrammed;
  }

  /** A pass without peers says nothing before we know of them: from the store, or what we remember. */
  get #arePeersProgrammed(): boolean {
    return this.#network?.arePeersProgrammed === true && (this.table.hasSnapshot || this.#isWarm);
  }

  /** Reads the configuration again, as if it had been written just now (SIGHUP). */
  async reload(): Promise<void> {
    this.#network?.runtime.lookAgain();
    await this.#onConfig(await this.#parts.store.networkConfig(this.#signal));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#warmStart?.[Symbol.dispose]();
    this.#abort.abort();
    await this.#session;
    await this.#opening?.catch(() => undefined);
    await this.#renewer?.[Symbol.asyncDispose]();
    await this.#network?.[Symbol.asyncDispose]();
    await this.#files[Symbol.asyncDispose]();
  }

  async #runSession(): Promise<void> {
    const { store, logger, backends, options, remembered, metrics } = this.#parts;
    const events = {
      faultOf: ({ text }: NetworkConfigDocument) =>
        this.#network === undefined ? faultOfConfig(backends, text, this.configNews) : undefined,
      onConfig: (document: NetworkConfigDocument | undefined) => this.#onConfig(document),
      acquire: (waiting: Waiting) => this.#acquire(waiting),
      onAcquired: (lease: OwnLease) => this.#onAcquired(lease),
      onChange: (change: LeaseChange) => this.#onChange(change),
      onWaiting: (reason: string | undefined) => this.#storeWay.onWaiting(reason),
      ...this.#demands.sessionEvents(this.#signal),
    };
    try {
      const waits = { logger, signal: this.#signal, waitsForAccess: waitsForAccess(options) || !!remembered, metrics };
      await runStoreSession(store, events, waits);
    } catch (error) {
      if (!this.#signal.aborted && !isCancelled(error)) this.#end(endOf(error));
    }
  }

  /** Goes on with what the last run knew, while the store is away. The session verifies it when the store answers. */
  async #startWarm(remembered: RememberedState): Promise<void> {
    if (this.#own !== undefined || this.#signal.aborted) return;
    this.#demands.remember(remembered.own);
    const { logger, warmState, backends } = this.#parts;
    const known = readConfig(backends, remembered.configText, this.configNews);
    const keys = backends.keysOf(known.config);
    if (compareNetworkConfig(this.#config?.config ?? known.config, known.config, keys).restart.length > 0) return;
    const { backend } = await this.#openNetwork(known);
    if (this.#own !== undefined || this.#signal.aborted) return;
    this.#isWarm = true;
    const peers = warmState.loadPeers();
    this.table.seed(peers);
    logWarmStart(logger, backend.runsDataPlane, remembered, peers.length);
    this.#setOwn(remembered.own);
  }

  async #onConfig(document: NetworkConfigDocument | undefined): Promise<void> {
    if (document === undefined) return this.configNews.deleted();
    const { backends } = this.#parts;
    this.storeView.answered();
    // A warm start may just be opening the network.
    await this.#opening?.catch(() => undefined);
    if (this.#config === undefined || this.#network === undefined) {
      await this.#openNetwork(readConfig(backends, document.text, this.configNews));
      return;
    }
    const change = judgeConfigChange(backends, this.#config, document.text, this.configNews);
    if (change !== undefined) this.#changeConfig(change);
  }

  #changeConfig({ next, live, restart }: ConfigChange): void {
    if (restart.length > 0 && (this.#isWarm || this.#own === undefined)) {
      this.configNews.restartingFor(restart);
      this.#end({ type: "restart" });
      return;
    }
    this.#config = next;
    if (live.length > 0) {
      this.#network?.setConfig(next.config);
      this.configNews.applied(live);
    }
    this.configNews.restartNeeded(restart);
    this.settle();
  }

  #openNetwork(config: ActiveConfig): Promise<Network> {
    this.#opening ??= this.#openNetworkOnce(config).finally(() => {
      if (this.#network === undefined) this.#opening = undefined;
    });
    return this.#opening;
  }

  async #openNetworkOnce(active: ActiveConfig): Promise<Network> {
    const { options: agentOptions } = this.#parts;
    const { config } = active;
    if (this.#config?.text !== active.text) this.configNews.read(config);
    this.#config = active;
    this.#network = await openNetwork({
      ...this.#parts,
      config,
      agentOptions: this.#demands.applyTo(agentOptions),
      announced: this.#demands.announced,
      signal: this.#signal,
      isStopped: () => this.#parts.signal.aborted,
      onWaiting: (reason) => this.#storeWay.onWaiting(reason),
      occupied: { earlierSubnets: (own) => this.#earlier.besides(own), reached: () => this.#storeWay.reached() },
      onPass: () => this.settle(),
      onExternalInterface: (followed, previous) => this.#onExternalInterface(followed, previous),
      onIpv6Arrival: () => {
        logIpv6Arrival(this.#parts.logger);
        this.#end({ type: "restart" });
      },
    });
    return this.#network;
  }

  /** `held`: what the running agent may not exchange for another subnet. */
  async #acquire(waiting: Waiting, held?: LeasedSubnets): Promise<OwnLease> {
    const request = () => ({ ...this.#leaseRequest(), ...(held !== undefined && { held }) });
    const acquired = await acquireLease(leasingInTurn(this.#parts), request, waiting);
    logAcquired(this.#parts.logger, acquired, this.#own);
    return acquired.lease;
  }

  #leaseRequest(): LeaseRequest {
    if (this.#config === undefined || this.#network === undefined) {
      throw new FlannelError("INTERNAL", "a lease was requested before the network was open");
    }
    const [own, previous] = [this.#own ?? this.#parts.remembered?.own, this.#previous];
    return leaseRequest({ ...this.#parts, config: this.#config.config, network: this.#network, own, previous });
  }

  #onAcquired(lease: OwnLease): void {
    this.#warmStart?.[Symbol.dispose]();
    this.storeView.answered();
    this.#isWarm = false;
    this.#setOwn(lease);
    this.#renewer = LeaseRenewer.start({
      ...this.#parts,
      lease,
      attributes: lease.attributes,
      renewMarginMs: this.#parts.options.renewMarginMs,
      acquire: (signal) => this.#acquire({ ...this.#parts, signal }, this.#own),
      onLease: (renewed) => this.#setOwn(renewed),
      onTaken: (error) => this.#end({ type: "failed", error }),
      signal: this.#signal,
    });
    // Facts may have changed while the lease was being taken.
    this.#announce();
  }

  #onChange(change: LeaseChange): void {
    if (this.storeView.follow(change)) this.#renewer?.retryNow();
    if (change.type === "disconnected") {
      this.#parts.onSettled();
      return;
    }
    const update = this.table.apply(change);
    this.#renewer?.follow(update);
    this.#missing.follow(update);
    if (update.peersChanged || change.type === "snapshot") this.#publishPeers();
  }

  #publishPeers(): void {
    this.#network?.setPeers(this.table);
    this.#files.savePeers(this.table.peers());
  }

  #setOwn(lease: OwnLease): void {
    const hasMoved = this.#own?.key !== lease.key || !hasSameSubnets(this.#own, lease);
    this.#own = lease;
    this.#earlier.add(lease);
    this.table.setOwnKey(lease.key);
    if (hasMoved) {
      this.#network?.setOwn(lease);
      // What was ours until now is a peer's, and what seemed a peer's is ours.
      this.#network?.setPeers(this.table);
    }
    this.settle();
  }

  #onExternalInterface(followed: FollowedInterface, previous: ExternalInterface): void {
    this.#interface = followed;
    if (isMoved(followed.interface, previous)) this.#parts.store.reconnect?.();
    logInterface(this.#parts.logger, followed, previous);
    this.#announce();
  }

  #announce(): void {
    if (this.#network === undefined || this.#renewer === undefined) return;
    announce(this.#network, this.#renewer, this.#parts.logger);
    this.settle();
  }

  /** Announces what the host is now, once the state directory has it. Rejects with `FILE_FAILED` when it cannot be kept there. */
  async announceDurably(): Promise<void> {
    this.settle();
    await this.#files.untilStateSaved();
    this.#announce();
  }

  /** Brings files and reports up to date; also now and then, since a full disk may have room again. */
  settle(): void {
    this.#storeWay.onPass(this.#network);
    if (this.#own !== undefined && this.#config !== undefined && this.#network !== undefined) {
      this.#network.planFacts.settleIdentity(this.#own.attributes);
      this.#files.update({
        ...{ config: this.#config, own: this.#own, network: this.#network, earlierSubnets: this.earlierSubnets },
        storeAddresses: this.#storeWay.addresses,
      });
    }
    this.#parts.onSettled();
  }
}
