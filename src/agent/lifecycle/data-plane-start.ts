// What is different about going on with what is remembered where the agent itself carries the packets.
import { createBackend, parseConfig } from "../../backend/registry.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { RememberedState } from "../state/warm-state.ts";
import type { WarmStartTimes } from "./warm-start.ts";

/**
 * When to go on with what is remembered: at once when packets stand still without us, and while the network is looked at
 * the thread that will carry them starts; otherwise the store gets its chance first.
 */
export function prepareWarmStart(remembered: RememberedState): WarmStartTimes {
  if (!runsDataPlane(remembered)) return {};
  // Should it fail, the data plane starts a thread of its own when its turn comes, and says what is wrong.
  import("../../tunnel/packet-thread.ts")
    .then(({ preparePacketThread }) => preparePacketThread())
    .catch(() => undefined);
  return { firstMs: 0 };
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
    return createBackend(parseConfig(configText).config).runsDataPlane;
  } catch {
    return false; // the start itself says what is wrong with it
  }
}
