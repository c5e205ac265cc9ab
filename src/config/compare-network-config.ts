// Tells which keys differ between two versions of the network configuration, and what applying them takes. Pure.

import { foldKey } from "../json/nearest.ts";
import type { BackendKey } from "./backend-key.ts";
import { isSameBackendValue, readBackendOptions } from "./backend-options.ts";
import type { AddressPool, MasqueradeExclude, NetworkConfig } from "./network-config.ts";
import { isSameRouting } from "./routing-table.ts";

export interface ConfigDifference {
  /** Changed keys that a running agent applies by planning again. */
  readonly live: readonly string[];
  /** Changed keys that need a restart. */
  readonly restart: readonly string[];
}

/**
 * Compares meaning, not spelling: a default written out is no change. Both configurations must have passed
 * `createBackend`; `backendKeys` are those of the backend of `after`. After a change of the backend type its keys are not listed one by one.
 */
export function compareNetworkConfig(
  before: NetworkConfig,
  after: NetworkConfig,
  backendKeys: readonly BackendKey[],
): ConfigDifference {
  const live = isSameExclusion(before.masqueradeExclude, after.masqueradeExclude) ? [] : ["MasqueradeExclude"];
  const restart = [
    ...(before.enableNftables === after.enableNftables ? [] : ["EnableNFTables"]),
    ...(isSameRouting(before.routing, after.routing) ? [] : ["RoutingTable or RoutingRules"]),
    ...comparePools("", "EnableIPv4", before.ipv4, after.ipv4),
    ...comparePools("IPv6", "EnableIPv6", before.ipv6, after.ipv6),
  ];
  if (before.backendType !== after.backendType) return { live, restart: [...restart, "Backend.Type"] };
  const old = readBackendOptions(backendKeys, before.backend);
  const current = readBackendOptions(backendKeys, after.backend);
  for (const key of backendKeys) {
    if (!isSameBackendValue(old.get(key.name), current.get(key.name)))
      (key.live ? live : restart).push(`Backend.${key.name}`);
  }
  return { live, restart };
}

const nothing: MasqueradeExclude = Object.freeze({ prefixes: [], nodes: false });

function isSameExclusion(a = nothing, b = nothing): boolean {
  return a.nodes === b.nodes && a.prefixes.join() === b.prefixes.join();
}

/** `running` with the live keys of `next`; everything else as it runs. Backend keys only within one backend type. */
export function withLiveKeys(
  running: NetworkConfig,
  next: NetworkConfig,
  backendKeys: readonly BackendKey[],
): NetworkConfig {
  const masqueradeExclude = next.masqueradeExclude ?? nothing;
  if (running.backendType !== next.backendType) return Object.freeze({ ...running, masqueradeExclude });
  const live = new Set(backendKeys.filter((key) => key.live).map((key) => foldKey(key.name)));
  const kept = Object.entries(running.backend).filter(([name]) => !live.has(foldKey(name)));
  const taken = Object.entries(next.backend).filter(([name]) => live.has(foldKey(name)));
  return Object.freeze({
    ...running,
    masqueradeExclude,
    backend: Object.freeze(Object.fromEntries([...kept, ...taken])),
  });
}

function comparePools(
  prefix: string,
  enableKey: string,
  before: AddressPool | undefined,
  after: AddressPool | undefined,
): string[] {
  if (before === undefined || after === undefined) return before === after ? [] : [enableKey];
  return [
    ...(before.network === after.network ? [] : [`${prefix}Network`]),
    ...(before.subnetLength === after.subnetLength ? [] : [`${prefix}SubnetLen`]),
    ...(before.subnetMin === after.subnetMin ? [] : [`${prefix}SubnetMin`]),
    ...(before.subnetMax === after.subnetMax ? [] : [`${prefix}SubnetMax`]),
  ];
}
