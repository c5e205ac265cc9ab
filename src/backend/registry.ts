// The backends of this version. Pure.
import type { BackendKey } from "../config/backend-key.ts";
import type { NetworkConfig } from "../config/network-config.ts";
import { type ParsedNetworkConfig, parseNetworkConfig } from "../config/parse-network-config.ts";
import { FlannelError } from "../errors.ts";
import { didYouMean } from "../json/nearest.ts";
import { allocModule } from "./alloc/alloc-backend.ts";
import type { Backend, BackendModule } from "./backend.ts";
import { hostGwModule } from "./host-gw/host-gw-backend.ts";
import { udpModule } from "./udp/udp-backend.ts";
import { vxlanModule } from "./vxlan/vxlan-backend.ts";

export const backendModules: readonly BackendModule[] = [vxlanModule, hostGwModule, udpModule, allocModule];

/** The network configuration, checked with the keys of these backends. Throws as `parseNetworkConfig`. */
export function parseConfig(text: string): ParsedNetworkConfig {
  return parseNetworkConfig(text, backendKeysOf);
}

/** Throws `config.invalid` for an unknown type, naming the known ones, and for keys the backend does not accept. */
export function createBackend(config: NetworkConfig): Backend {
  const module = findModule(config.backendType);
  if (module !== undefined) return module.create(config);
  const known = backendModules.map(({ type }) => type);
  const shown = config.backendType.length > 60 ? `${config.backendType.slice(0, 57)}...` : config.backendType;
  const rule = `is not a backend of this version: known are ${known.join(", ")}${didYouMean(shown, known)}`;
  throw new FlannelError("config.invalid", `network config: Backend.Type ${JSON.stringify(shown)} ${rule}`, {
    details: { key: "Backend.Type", value: config.backendType, rule },
  });
}

/** The keys beside Type that a backend reads; undefined for an unknown type. */
export function backendKeysOf(type: string): readonly BackendKey[] | undefined {
  return findModule(type)?.keys;
}

function findModule(type: string): BackendModule | undefined {
  return backendModules.find((module) => module.type === type.toLowerCase());
}
