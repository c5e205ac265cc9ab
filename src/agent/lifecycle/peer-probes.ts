// The probes of one network's peers: keeps the prober told of the peers, tells the log and the state of what changes, and the
// status of all that is known.
import { Debounce } from "../../async/debounce.ts";
import type { BackendRegistry } from "../../backend/registry.ts";
import type { PlannedWay } from "../../doctor/peer-ways.ts";
import type { Prefix } from "../../ip/address.ts";
import type { PathMtuFound } from "../../probe/path-mtu.ts";
import { recordProbes } from "../../probe/probe-recorder.ts";
import { type ProbeSummary, summarizeProbes } from "../../probe/probe-summary.ts";
import type { PathChange, ProbedNetwork } from "../../probe/probed-network.ts";
import type { ProbedPath } from "../../probe/probed-path.ts";
import type { Prober } from "../../probe/prober.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { NetworkStatus } from "../control/control-protocol.ts";
import type { NetworkContext } from "./check-context.ts";
import { ProbeLog } from "./probe-log.ts";
import { recordProbeStates } from "./probe-metrics.ts";
import { ProbePaths } from "./probe-paths.ts";
import { probeStatus } from "./probe-status.ts";

export interface PeerProbesOptions {
  readonly prober: Prober;
  readonly intervalMs: number;
  readonly backends: BackendRegistry;
  readonly logger: Logger;
  readonly metrics: MetricsRecorder;
}

export interface PeerProbesLinks {
  /** The state may be another now. */
  readonly onChange: () => void;
  /** Packets of these peers began to get lost. */
  readonly onSuspect: (subnets: readonly Prefix[]) => void;
  /** What paths carry is another now. */
  readonly onMtu: () => void;
}

const SETTLE_MS = 50;
const SETTLE_MS_PER_WAY = 0.2;

export class PeerProbes implements Disposable {
  readonly #options: PeerProbesOptions;
  readonly #network: ProbedNetwork;
  readonly #log: ProbeLog;
  readonly #paths: ProbePaths;
  #planned: { readonly ways: readonly PlannedWay[]; readonly context: NetworkContext } | undefined;
  readonly #settling = new Debounce(() => this.#updateProber());
  #links: PeerProbesLinks | undefined;
  /** Undefined when it has to be recreated. */
  #summary: ProbeSummary | undefined;

  constructor(options: PeerProbesOptions) {
    this.#options = options;
    this.#log = new ProbeLog(options.logger);
    this.#paths = new ProbePaths(options.backends);
    this.#network = options.prober.network({
      recorder: recordProbes(options.metrics),
      onChange: (change) => this.#changed(change),
      onMtu: (path, before) => this.#mtuChanged(path, before),
      onProblem: (reason) => options.logger.warn("probe.unavailable", `peers cannot be probed: ${reason}`),
    });
  }

  link(links: PeerProbesLinks): void {
    this.#links = links;
  }

  get summary(): ProbeSummary {
    this.#summary ??= summarizeProbes(this.#network.peers);
    return this.#summary;
  }

  /** The prober gets them a moment later, of many changes at once: with thousands of peers it takes some milliseconds. */
  setWays(ways: readonly PlannedWay[], context: NetworkContext): void {
    this.#planned = { ways, context };
    this.#settling.request(SETTLE_MS + ways.length * SETTLE_MS_PER_WAY, true);
  }

  status(): NonNullable<NetworkStatus["probes"]> {
    return probeStatus(this.#network, this.summary, this.#options.intervalMs);
  }

  record(): void {
    recordProbeStates(this.#options.metrics, this.summary, this.#network.peers);
  }

  [Symbol.dispose](): void {
    this.#settling.cancel();
    this.#network[Symbol.dispose]();
    this.#log[Symbol.dispose]();
  }

  #updateProber(): void {
    if (this.#planned === undefined) return;
    this.#network.setPaths(this.#paths.of(this.#planned.ways, this.#planned.context));
    this.#summary = undefined;
    // Of peers that are gone nothing is kept.
    this.#links?.onMtu();
  }

  /** All that are probed. */
  get probedPaths(): readonly ProbedPath[] {
    return this.#network.peers.flatMap(({ paths }) => paths);
  }

  /** Routes say something else of how large packets may be: what that means for the states of paths. */
  setRouteMtus(bytesOf: (subnet: Prefix) => number | undefined): void {
    for (const path of this.probedPaths) path.routeMtuBytes = bytesOf(path.path.subnet);
    this.#summary = undefined;
  }

  #mtuChanged(path: ProbedPath, before: PathMtuFound | undefined): void {
    this.#log.logMtu(path, before);
    this.#links?.onMtu();
  }

  #changed(change: PathChange): void {
    this.#summary = undefined;
    this.#log.follow(change);
    const { state, path } = change.path;
    if (state === "suspect" || state === "down") this.#links?.onSuspect([path.subnet]);
    this.#links?.onChange();
  }
}
