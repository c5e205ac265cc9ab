// Starts what a backend has running: what comes before its lease, and its runtime.
import { retryUntilDone } from "../../async/retry.ts";
import type {
  BackendModule,
  BackendPlan,
  BackendRuntime,
  PlanLines,
  RuntimeFailure,
  RuntimeStatus,
} from "../../backend/backend.ts";
import type { NetworkConfig } from "../../config/network-config.ts";
import type { BackendData } from "../../lease/lease.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { NetworkOptions } from "./network-options.ts";

/** Then the configuration is read again: it may be what is wrong. */
const TRY_FOR_MS = 8_000;

export interface StartUpOptions {
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** What stands in the way; undefined when it no longer does. */
  readonly onWaiting: (reason: string | undefined) => void;
}

/** See `BackendModule.startUp`. Rejects with its last error when it did not work out for some seconds. */
export async function startUpBackend(
  module: BackendModule,
  config: NetworkConfig,
  { logger, signal, onWaiting }: StartUpOptions,
): Promise<BackendData | undefined> {
  if (module.startUp === undefined) return undefined;
  const untilMs = performance.now() + TRY_FOR_MS;
  const shouldRetry = ({ retryable }: { readonly retryable: boolean }) => retryable && performance.now() < untilMs;
  return await retryUntilDone(
    {
      ...{ what: "run the command that comes before the lease", event: "extension.not-started", logger, signal },
      ...{ firstDelayMs: 1_000, maxDelayMs: 4_000, shouldRetry, onWaiting },
    },
    async () => await module.startUp?.(config, { signal }),
  );
}

/** The runtime of a network's backend, from the first plan that asks for one. */
export class NetworkRuntime implements AsyncDisposable {
  readonly #options: NetworkOptions;
  #runtime: BackendRuntime | undefined;

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  /** See `BackendRuntime.apply`. */
  async apply(plan: BackendPlan["runtime"], isComplete: boolean): Promise<void> {
    if (plan === undefined) return;
    this.#runtime ??= await this.#start();
    await this.#runtime?.apply(plan, { isComplete });
  }

  async #start(): Promise<BackendRuntime | undefined> {
    const { backends, backend, logger, descriptorStore, warmState, isStopped, onPass } = this.#options;
    const memory = warmState.memoryOf(backend.type);
    return await backends.find(backend.type)?.start?.({ logger, descriptorStore, memory, isStopped, onChange: onPass });
  }

  /** Why it does not do its part of a plan that has one; undefined when it does. */
  get problem(): string | undefined {
    return this.#runtime === undefined ? "the data plane is not running yet" : this.#runtime.problem();
  }

  /** See `BackendRuntime.lookAgain`. */
  lookAgain(): void {
    this.#runtime?.lookAgain?.();
  }

  get failures(): readonly RuntimeFailure[] {
    return this.#runtime?.failures?.() ?? [];
  }

  get unreachedPeers(): number {
    return this.#runtime?.unreachedPeers?.() ?? 0;
  }

  /** Undefined where nothing runs. */
  get status(): RuntimeStatus | undefined {
    return this.#runtime?.status();
  }

  get planLines(): PlanLines {
    return this.#runtime?.planLines?.() ?? { desired: [], difference: [] };
  }

  /** See `BackendRuntime.handOver`; undefined where nothing runs. */
  async handOver(): Promise<readonly string[] | undefined> {
    return await this.#runtime?.handOver?.();
  }

  recordMetrics(metrics: MetricsRecorder): void {
    this.#runtime?.recordMetrics?.(metrics);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#runtime?.[Symbol.asyncDispose]();
  }
}
