// When to go on without the store: after it had some time to answer, and again for as long as that fails; at once where the agent
// itself carries the packets.
import type { Backend } from "../../backend/backend.ts";
import type { BackendRegistry } from "../../backend/registry.ts";
import { describeError } from "../../errors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { RememberedState } from "../state/warm-state.ts";

/** How long the store may take before we go on with what we remember; also how long a failure rests. */
const AFTER_MS = 1_500;

export interface WarmStartTimes {
  readonly firstMs?: number;
  /** Between a failure and the next try. */
  readonly restMs?: number;
}

export class WarmStart implements Disposable {
  readonly #start: () => Promise<void>;
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;
  readonly #restMs: number;
  #isOver = false;
  #said = "";

  /** `start` rejects when it did not work out and may later: an interface that is not there yet. */
  constructor(
    start: () => Promise<void>,
    logger: Logger,
    { firstMs = AFTER_MS, restMs = AFTER_MS }: WarmStartTimes = {},
  ) {
    this.#start = start;
    this.#logger = logger;
    this.#restMs = restMs;
    this.#arm(firstMs);
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #arm(delayMs: number): void {
    this.#timer = setTimeout(() => void this.#try(), delayMs);
  }

  async #try(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      if (this.#isOver) return;
      const text = describeError(error);
      if (text !== this.#said) {
        this.#logger.warn("warm-start.failed", "cannot use the remembered state yet; retrying", { error: text });
      }
      this.#said = text;
      this.#arm(this.#restMs);
    }
  }
}

/**
 * When to go on with what is remembered: at once when packets stand still without us, and while the network is looked at
 * what takes time at the start of the data plane begins; otherwise the store gets its chance first.
 */
export function prepareWarmStart(backends: BackendRegistry, remembered: RememberedState): WarmStartTimes {
  const backend = tryCreateBackend(backends, remembered);
  if (backend?.runsDataPlane !== true) return {};
  backends.find(backend.type)?.warmUp?.();
  return { firstMs: 0 };
}

export function logWarmStart(logger: Logger, runsDataPlane: boolean, remembered: RememberedState, peers: number): void {
  const facts = { key: remembered.own.key, peers };
  if (runsDataPlane) {
    logger.info("warm-start", "using the remembered lease and peers until the store answers", facts);
  } else {
    logger.warn("warm-start", "the store does not answer: continuing with the remembered lease and peers", facts);
  }
}

function tryCreateBackend(backends: BackendRegistry, { configText }: RememberedState): Backend | undefined {
  try {
    return backends.create(backends.parseConfig(configText).config);
  } catch {
    return undefined; // the start itself says what is wrong with it
  }
}
