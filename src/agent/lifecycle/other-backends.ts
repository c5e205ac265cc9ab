// What an earlier backend of this network left running would go on to carry its packets: taken away before another one starts.
import type { BackendModule } from "../../backend/backend.ts";
import type { BackendRegistry } from "../../backend/registry.ts";
import type { NetworkConfig } from "../../config/network-config.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { RememberedState, WarmState } from "../state/warm-state.ts";

export interface OtherBackendsOptions {
  readonly backends: BackendRegistry;
  readonly config: NetworkConfig;
  readonly remembered: RememberedState | undefined;
  readonly warmState: WarmState;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** For the present configuration's networks, and for those of the one that is remembered. Never rejects. */
export async function cleanUpOthers(present: BackendModule, options: OtherBackendsOptions): Promise<void> {
  const { backends, config, warmState, logger, signal } = options;
  const configs = [config, ...rememberedConfig(options)];
  for (const module of backends.modules) {
    if (module === present || module.outlivesAgent !== true) continue;
    const services = { memory: warmState.memoryOf(module.type), isDryRun: false, signal };
    for (const each of configs) {
      const { removed, failures } = (await module.cleanUp?.(each, services)) ?? { removed: [], failures: [] };
      if (removed.length > 0) {
        logger.info("backend.cleaned", `removed what the backend ${module.type} left running`, { removed });
      }
      if (failures.length === 0) continue;
      const facts = { failures: failures.map(({ object, error }) => `${object}: ${error}`) };
      logger.warn("backend.left-behind", `cannot take away what the backend ${module.type} left running`, facts);
    }
  }
}

function rememberedConfig({ backends, remembered }: OtherBackendsOptions): NetworkConfig[] {
  if (remembered === undefined) return [];
  try {
    return [backends.parseConfig(remembered.configText).config];
  } catch {
    return []; // of another version; the start says what is wrong with it
  }
}
