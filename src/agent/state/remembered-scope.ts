// What states of an agent say that it made on this host, and what its backends take away of it.
import type { CleanUpResult, CleanUpServices } from "../../backend/backend.ts";
import type { BackendRegistry } from "../../backend/registry.ts";
import { type NetworkConfig, networksOf } from "../../config/network-config.ts";
import type { Prefix } from "../../ip/address.ts";
import type { RememberedState, WarmState } from "./warm-state.ts";

export interface RememberedScope {
  /** Names of devices. */
  readonly devices: readonly string[];
  readonly networks: readonly Prefix[];
  /** Of its own. */
  readonly tables: readonly number[];
}

export function rememberedScope(states: readonly RememberedState[], backends: BackendRegistry): RememberedScope {
  const registry = backends.withGivenSubnets();
  return {
    devices: [...new Set(states.flatMap(({ devices }) => devices))],
    networks: [...new Set(states.flatMap(({ configText }) => networksOf(tryParseConfig(configText, registry) ?? {})))],
    tables: [
      ...new Set(states.flatMap(({ configText }) => tryParseConfig(configText, registry)?.routing?.table ?? [])),
    ],
  };
}

/** Has the backends take away what they had running: see `BackendModule.cleanUp`. */
export async function cleanUpBackends(
  warmState: WarmState,
  backends: BackendRegistry,
  services: Omit<CleanUpServices, "memory">,
): Promise<readonly CleanUpResult[]> {
  const results: CleanUpResult[] = [];
  for (const { configText } of warmState.all()) {
    const config = tryParseConfig(configText, backends.withGivenSubnets());
    const module = config && backends.find(config.backendType);
    if (config === undefined || module?.cleanUp === undefined) continue;
    results.push(await module.cleanUp(config, { ...services, memory: warmState.memoryOf(module.type) }));
  }
  return results;
}

function tryParseConfig(text: string, backends: BackendRegistry): NetworkConfig | undefined {
  try {
    return backends.parseConfig(text).config;
  } catch {
    return undefined;
  }
}
