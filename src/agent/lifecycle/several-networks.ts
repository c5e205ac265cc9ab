// The networks of an agent that serves several: those that the flags name, or those that the store has, as they come and go.
import { LatestOnly } from "../../async/latest-only.ts";
import { isNetworkName, MAX_NETWORKS } from "../../config/network-name.ts";
import { describeError, isCancelled } from "../../errors.ts";
import type { StorePlace } from "../../store/network-directory.ts";
import { storeIdentity } from "../../store/store-identity.ts";
import { RememberedNetworks } from "../state/remembered-networks.ts";
import { WarmState } from "../state/warm-state.ts";
import type { AgentReport } from "./agent-report.ts";
import { HostedNetwork, type HostParts, optionsOf } from "./hosted-network.ts";
import { claimOf, NetworkClaims } from "./network-claims.ts";
import { StoreView } from "./store-view.ts";

export interface SeveralNetworksParts extends HostParts {
  readonly report: AgentReport;
}

export class SeveralNetworks implements AsyncDisposable {
  readonly #parts: SeveralNetworksParts;
  readonly #hosted = new Map<string, HostedNetwork>();
  readonly #claims: NetworkClaims;
  readonly #remembered: RememberedNetworks;
  readonly #file = new LatestOnly(() => this.#save());
  readonly #abort = new AbortController();
  readonly #allowed: ReadonlySet<string>;
  /** What the directory's watch tells of the store; missing where nothing is watched. */
  readonly view: StoreView | undefined;
  /** Names of the store that cannot be served, as told. */
  readonly #refused = new Set<string>();
  /** Served, and missing in a store that is another one than before. */
  #orphans: ReadonlySet<string> = new Set();
  #place: StorePlace | undefined;
  #following: Promise<void> = Promise.resolve();

  private constructor(parts: SeveralNetworksParts) {
    const { options, backends, logger } = parts;
    const { names = [], isWatching = false, directory = "" } = options.several ?? {};
    this.#parts = parts;
    this.#allowed = new Set(names);
    this.#claims = new NetworkClaims(backends.deviceKeys, () => this.#retry());
    this.#remembered = new RememberedNetworks(options.stateDirectory, directory, options.etcd.prefix);
    this.view = isWatching ? new StoreView(logger) : undefined;
  }

  /** Begins with what was served last time: each goes on with what is remembered of it while the store is away. */
  static start(parts: SeveralNetworksParts): SeveralNetworks {
    const networks = new SeveralNetworks(parts);
    networks.#begin();
    return networks;
  }

  /** To be called now and then. */
  tick(): void {
    for (const network of this.#hosted.values()) network.tick();
  }

  /** Reads all configurations again; rejects with the first failure, after all were tried. */
  async reload(): Promise<void> {
    const results = await Promise.allSettled([...this.#hosted.values()].map((network) => network.reload()));
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#following;
    await Promise.all([...this.#hosted.values()].map((network) => network[Symbol.asyncDispose]()));
    await this.#file[Symbol.asyncDispose]();
  }

  #begin(): void {
    const { report } = this.#parts;
    const { names, place } = this.#remembered.load();
    this.#place = place;
    for (const name of names) this.#rememberClaim(name);
    const wanted = this.view === undefined ? this.#allowed : new Set(names.filter((name) => this.#isAllowed(name)));
    for (const name of wanted) this.#want(name);
    for (const name of names) if (!this.#isAllowed(name)) this.#leave(name);
    if (this.view === undefined) report.networksKnown();
    else this.#following = this.#follow();
    this.#file.request();
  }

  #isAllowed(name: string): boolean {
    return this.#allowed.size === 0 || this.#allowed.has(name);
  }

  /** Devices of the last run are its own before it has read its configuration, or two networks would take turns. */
  #rememberClaim(name: string): void {
    const { backends, options } = this.#parts;
    const { stateDirectory: directory, subnetFile, etcd } = optionsOf(options, name);
    const { network, leaseCodec } = storeIdentity({ type: "etcd", ...etcd });
    const warmState = new WarmState({ directory, subnetFile, networkId: network.id, leaseCodec, backends });
    try {
      for (const { configText } of warmState.all()) {
        const { config } = backends.parseConfig(configText);
        this.#claims.remember(name, claimOf(config, backends.create(config)));
      }
    } catch {
      // Then it has no more rights than others.
    }
  }

  /** Never rejects. */
  async #follow(): Promise<void> {
    const { directory, signal, logger, report, onSettled } = this.#parts;
    const view = this.view;
    if (view === undefined) return;
    try {
      for await (const news of directory.watch(AbortSignal.any([signal, this.#abort.signal]))) {
        if (news.type === "names") {
          view.reached("the networks");
          this.#apply(news.names, news.place, news.isOtherStore);
          report.networksKnown();
        } else if (news.type === "contact") view.reached("the networks");
        else view.follow(news);
        onSettled();
      }
    } catch (error) {
      if (!isCancelled(error)) logger.error("agent.failed.stack", describeError(error), { error });
    }
  }

  #apply(names: ReadonlySet<string>, place: StorePlace, isOtherStore: boolean): void {
    const { logger } = this.#parts;
    const present = new Set([...names].filter((name) => this.#isAllowed(name) && this.#isServable(name)));
    const served = [...this.#hosted.values()].filter(({ isWanted }) => isWanted).map(({ name }) => name);
    const missing = served.filter((name) => !present.has(name));
    const isOther = isOtherStore || isAnotherPlace(this.#place, place);
    const orphans = missing.filter((name) => isOther || this.#orphans.has(name));
    if (isOther && orphans.length > 0) {
      const message = `the store is another one than before, and has no configuration of ${orphans.join(", ")}: serving on`;
      logger.warn("network.kept", message, { networks: orphans });
    }
    this.#orphans = new Set(orphans);
    // Its revisions say nothing about what is kept of another one.
    if (orphans.length === 0) this.#place = place;
    for (const name of present) this.#want(name);
    for (const name of missing) if (!this.#orphans.has(name)) this.#leave(name);
    this.#file.request();
  }

  /** What the store names may be anything. */
  #isServable(name: string): boolean {
    const isRoom = this.#hosted.has(name) || this.#hosted.size < MAX_NETWORKS;
    if (isNetworkName(name) && isRoom) return true;
    if (this.#refused.has(name) || this.#refused.size >= MAX_NETWORKS) return false;
    this.#refused.add(name);
    const why = isRoom ? "is no name of a network" : `is one network more than an agent serves (${MAX_NETWORKS})`;
    this.#parts.logger.warn("network.name-refused", `${JSON.stringify(name.slice(0, 80))} ${why}: ignoring it`);
    return false;
  }

  #want(name: string): void {
    const known = this.#hosted.get(name);
    if (known === undefined) this.#host(name, true);
    else known.want(true);
    this.#parts.report.show(name, true);
  }

  #leave(name: string): void {
    const known = this.#hosted.get(name);
    if (known === undefined) this.#host(name, false);
    else known.want(false);
    this.#parts.report.show(name, false);
  }

  #host(name: string, isWanted: boolean): void {
    const { report, options } = this.#parts;
    const network = new HostedNetwork(
      {
        ...this.#parts,
        name,
        report: report.add(optionsOf(options, name)),
        others: this.#claims.for(name),
        onGone: () => this.#gone(name),
      },
      isWanted,
    );
    this.#hosted.set(name, network);
  }

  #gone(name: string): void {
    this.#hosted.delete(name);
    this.#parts.report.remove(name);
    this.#claims.release(name);
    this.#file.request();
    this.#parts.onSettled();
  }

  #retry(): void {
    for (const network of this.#hosted.values()) network.retryNow();
  }

  async #save(): Promise<void> {
    const names = [...this.#hosted.keys()];
    try {
      await this.#remembered.save({ names, ...(this.#place !== undefined && { place: this.#place }) });
    } catch (error) {
      const message = "cannot save which networks there are; trying again with the next change";
      this.#parts.logger.error("state.failed", message, { error: describeError(error) });
    }
  }
}

/** Another store, or an older copy of the one that was followed last time. */
function isAnotherPlace(before: StorePlace | undefined, now: StorePlace): boolean {
  if (before === undefined) return false;
  const isOtherId = before.id !== "" && now.id !== "" && before.id !== now.id;
  return isOtherId || BigInt(now.revision) < BigInt(before.revision);
}
