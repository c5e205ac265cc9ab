// One of several networks of this agent: served while it is wanted, whatever fails in it; taken off the host when it is not.
// Nothing that happens in here ends the agent or reaches another network.
import { posix } from "node:path";
import { BackOff } from "../../async/back-off.ts";
import type { BackendRegistry } from "../../backend/registry.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import { describeError, FlannelError } from "../../errors.ts";
import type { RuleHost } from "../../firewall/rule-host.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { Prober } from "../../probe/prober.ts";
import type { NetworkDirectory } from "../../store/network-directory.ts";
import type { StoreIdentity } from "../../store/network-identity.ts";
import { storeIdentity } from "../../store/store-identity.ts";
import { FileLock } from "../../sys/file-lock.ts";
import { ensureDirectory } from "../../sys/files.ts";
import type { DescriptorStore } from "../../sys/service-descriptors.ts";
import type { AgentLogger } from "../../telemetry/create-logger.ts";
import { networkLogger } from "../../telemetry/network-logger.ts";
import type { HostIdentity } from "../state/warm-state.ts";
import type { AgentEnd } from "./agent-parts.ts";
import type { OtherNetworks } from "./network-claims.ts";
import { NetworkDescriptors } from "./network-descriptors.ts";
import type { NetworkReport } from "./network-report.ts";
import { NetworkRun } from "./network-run.ts";
import { removeNetwork } from "./remove-network.ts";
import { RunFiles } from "./run-files.ts";
import { StateLog } from "./state-log.ts";

/** What all networks of an agent share; it stays the caller's. */
export interface HostParts {
  /** Of the agent. */
  readonly options: AgentOptions;
  readonly backends: BackendRegistry;
  readonly logger: AgentLogger;
  readonly directory: NetworkDirectory;
  readonly descriptorStore: DescriptorStore;
  readonly rtnetlink: Rtnetlink;
  readonly ruleHost: RuleHost;
  /** Missing: peers are not probed. */
  readonly prober: Prober | undefined;
  readonly identifyHost: () => Promise<HostIdentity>;
  readonly signal: AbortSignal;
  /** After every change that the state of the agent may depend on. */
  readonly onSettled: () => void;
}

export interface HostedNetworkParts extends HostParts {
  readonly name: string;
  readonly report: NetworkReport;
  readonly others: OtherNetworks;
  /** It is not wanted, and nothing of it is left on this host. */
  readonly onGone: () => void;
}

/** What waiting cures is tried again; a corrected configuration is read at once. */
const RETRY = { firstMs: 1_000, maxMs: 60_000 };

/** The options of one of several networks. Throws nothing: the name is one. */
export function optionsOf(options: AgentOptions, name: string): AgentOptions {
  const directory = options.several?.directory ?? "";
  const prefix = posix.join(options.etcd.prefix, name);
  const { several: _, cni: __, ...shared } = options;
  return { ...shared, networkName: name, subnetFile: `${directory}/${name}.env`, etcd: { ...options.etcd, prefix } };
}

export class HostedNetwork implements AsyncDisposable {
  readonly name: string;
  readonly report: NetworkReport;
  readonly #parts: HostedNetworkParts;
  readonly #options: AgentOptions;
  readonly #identity: StoreIdentity;
  readonly #logger: AgentLogger;
  readonly #descriptors: NetworkDescriptors;
  readonly #stateLog: StateLog;
  readonly #abort = new AbortController();
  readonly #live: Promise<void>;
  #isWanted: boolean;
  /** Of what is done now: serving, or taking away. */
  #phase = new AbortController();
  /** Of the wait after a failure. */
  #rest: AbortController | undefined;
  /** It is reported again only when it is another one, or after the network was ready. */
  #loggedFailure = "";
  #run: NetworkRun | undefined;
  #files: RunFiles | undefined;

  constructor(parts: HostedNetworkParts, isWanted: boolean) {
    const { name, report, options, logger, descriptorStore } = parts;
    this.name = name;
    this.report = report;
    this.#parts = parts;
    this.#isWanted = isWanted;
    this.#options = optionsOf(options, name);
    this.#identity = storeIdentity({ type: "etcd", ...this.#options.etcd });
    this.#logger = networkLogger(logger, name);
    this.#descriptors = new NetworkDescriptors(descriptorStore);
    this.#stateLog = new StateLog(this.#logger);
    this.#live = this.#liveOn();
  }

  get isWanted(): boolean {
    return this.#isWanted;
  }

  want(isWanted: boolean): void {
    if (isWanted === this.#isWanted) return;
    this.#isWanted = isWanted;
    this.#phase.abort();
  }

  /** What stood in its way may be gone. */
  retryNow(): void {
    this.#rest?.abort();
  }

  /** To be called now and then. */
  tick(): void {
    this.#run?.tick();
    this.#files?.tick();
  }

  /** Reads the configuration again. */
  async reload(): Promise<void> {
    await this.#run?.agent.reload();
  }

  /** Stops; all that is in the kernel stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#live;
  }

  /** Never rejects. */
  async #liveOn(): Promise<void> {
    const { signal: outer, onGone } = this.#parts;
    const end = AbortSignal.any([outer, this.#abort.signal]);
    while (!end.aborted) {
      this.#phase = new AbortController();
      const signal = AbortSignal.any([end, this.#phase.signal]);
      if (this.#isWanted) {
        this.#logger.info("network.added", "serving the network");
        await this.#untilDone(signal, (again) => this.#serve(signal, again));
      } else {
        this.#logger.info("network.left", "the network is not to be served any more: removing it from this host");
        const isGone = await this.#untilDone(signal, () => this.#remove(signal));
        if (!isGone || this.#isWanted) continue;
        onGone();
        return;
      }
    }
  }

  /** Repeats what fails, and what is to restart; true when it is done, false when `signal` ended it. */
  async #untilDone(signal: AbortSignal, task: (isAgain: boolean) => Promise<"done" | "again">): Promise<boolean> {
    const backOff = new BackOff(RETRY);
    let isAgain = false;
    while (!signal.aborted) {
      try {
        isAgain = (await task(isAgain)) === "again";
        if (!isAgain) return true;
        backOff.reset();
      } catch (error) {
        if (signal.aborted) return false;
        isAgain = false;
        this.#fail(error);
        await this.#restFor(backOff, signal);
      }
    }
    return false;
  }

  /** Until it is time to try again, or there is reason to. */
  async #restFor(backOff: BackOff, signal: AbortSignal): Promise<void> {
    const rest = new AbortController();
    this.#rest = rest;
    const end = AbortSignal.any([signal, rest.signal]);
    const news = this.#isWanted ? this.#untilConfigChanges(end) : Promise.resolve();
    news.then(
      (isNew) => isNew === true && rest.abort(),
      () => undefined,
    );
    await backOff.wait(end).catch(() => undefined);
    rest.abort();
    await news.catch(() => undefined);
  }

  async #untilConfigChanges(signal: AbortSignal): Promise<boolean> {
    await using store = this.#parts.directory.open(this.name);
    const { revision } = await store.networkConfig(signal);
    for await (const _ of store.watchNetworkConfig(revision, signal)) return true;
    return false;
  }

  #fail(error: unknown): void {
    const text = describeError(error);
    const isLogged = text === this.#loggedFailure;
    this.#loggedFailure = text;
    const code = error instanceof FlannelError ? error.code : "INTERNAL";
    if (this.#isWanted) this.report.fail(text);
    this.#settled();
    if (isLogged) return;
    if (this.#isWanted) {
      this.#logger.error("network.failed", `${text}; trying again`, { code });
      if (code === "INTERNAL" && error instanceof Error) this.#logger.error("agent.failed.stack", error.stack ?? "");
    } else {
      this.#logger.error("network.remove-failed", `${text}; trying again`, { code });
    }
  }

  /** Until it is to restart or `signal` ends it; throws what made it fail. */
  async #serve(signal: AbortSignal, isRestart: boolean): Promise<"done" | "again"> {
    const { directory, backends, rtnetlink, ruleHost, prober, identifyHost, others } = this.#parts;
    using lock = this.#lock();
    await using store = directory.open(this.name);
    const host = await identifyHost();
    await using run = NetworkRun.start({
      ...{ backends, rtnetlink, ruleHost, prober, others, store, host, isRestart, signal },
      options: this.#options,
      identity: this.#identity,
      logger: this.#logger,
      descriptorStore: this.#descriptors,
      report: this.report,
      onSettled: () => this.#settled(),
    });
    this.#run = run;
    this.#files = new RunFiles({ lock, claims: () => run.agent.network }, this.#logger);
    const end = await Promise.race([run.ended, untilAborted(signal)]);
    [this.#run, this.#files] = [undefined, undefined];
    if (end?.type === "failed") throw end.error;
    return end === undefined ? "done" : "again";
  }

  async #remove(signal: AbortSignal): Promise<"done"> {
    const { backends } = this.#parts;
    const lock = this.#lock();
    try {
      this.#descriptors.forgetAll();
      const removed = await removeNetwork({
        ...{ backends, signal, logger: this.#logger },
        options: this.#options,
        identity: this.#identity,
      });
      this.#logger.info("network.removed", "the network is removed from this host; its lease stays", {
        objects: removed.length,
      });
    } finally {
      lock.removeAndFree();
    }
    return "done";
  }

  #lock(): FileLock {
    ensureDirectory(posix.dirname(this.#options.subnetFile), 0o755);
    return FileLock.acquire(`${this.#options.subnetFile}.lock`);
  }

  #settled(): void {
    const { state, reasons } = this.report.state();
    if (state === "ready") this.#loggedFailure = "";
    this.#stateLog.follow(state, reasons, () => this.report.summary());
    this.#parts.onSettled();
  }
}

async function untilAborted(signal: AbortSignal): Promise<AgentEnd | undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  signal.addEventListener("abort", () => resolve(undefined), { once: true });
  if (signal.aborted) resolve(undefined);
  return promise;
}
