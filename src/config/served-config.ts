// The part of a network configuration that a host serves which lacks a family. Pure.
import type { Family } from "../ip/address.ts";
import type { NetworkConfig } from "./network-config.ts";

/** `config` without the families that are not in `families`; the same object when all are. */
export function servedConfig(config: NetworkConfig, families: ReadonlySet<Family>): NetworkConfig {
  const lacksIpv4 = config.ipv4 !== undefined && !families.has(4);
  const lacksIpv6 = config.ipv6 !== undefined && !families.has(6);
  if (!lacksIpv4 && !lacksIpv6) return config;
  const { ipv4, ipv6, ...rest } = config;
  return Object.freeze({
    ...rest,
    ...(ipv4 !== undefined && !lacksIpv4 && { ipv4 }),
    ...(ipv6 !== undefined && !lacksIpv6 && { ipv6 }),
  });
}

/** Those that the configuration enables. */
export function familiesOf({ ipv4, ipv6 }: NetworkConfig): ReadonlySet<Family> {
  const families = new Set<Family>();
  if (ipv4 !== undefined) families.add(4);
  if (ipv6 !== undefined) families.add(6);
  return families;
}
