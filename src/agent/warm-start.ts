// When to go on with what the last run remembered, and how that is told.
import { createBackend } from "../backend/registry.ts";
import { parseNetworkConfig } from "../config/parse-network-config.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { RememberedState } from "./warm-state.ts";

/** How long the store may take before we go on with what we remember. */
const STORE_PATIENCE_MS = 1_500;

/** At once when packets stand still without us; otherwise the store gets its chance first. */
export function warmStartDelayMs(remembered: RememberedState): number {
  return runsDataPlane(remembered) ? 0 : STORE_PATIENCE_MS;
}

export function tellWarmStart(logger: Logger, remembered: RememberedState, peers: number): void {
  const facts = { key: remembered.own.key, peers };
  if (runsDataPlane(remembered)) {
    logger.info("warm-start", "carrying packets for the remembered lease and peers until the store answers", facts);
  } else {
    logger.warn("warm-start", "the store does not answer: going on with the remembered lease and peers", facts);
  }
}

function runsDataPlane({ configText }: RememberedState): boolean {
  try {
    return createBackend(parseNetworkConfig(configText).config).runsDataPlane;
  } catch {
    return false; // the start itself says what is wrong with it
  }
}
