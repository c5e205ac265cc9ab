// What is different about going on with what is remembered where the agent itself carries the packets.
import type { Backend } from "../../backend/backend.ts";
import type { BackendRegistry } from "../../backend/registry.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { RememberedState } from "../state/warm-state.ts";
import type { WarmStartTimes } from "./warm-start.ts";

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

export function tellWarmStart(
  logger: Logger,
  runsDataPlane: boolean,
  remembered: RememberedState,
  peers: number,
): void {
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
