// The network configuration (`<prefix>/config`), resolved to one frozen object. Parsing: parse-network-config.ts.
import type { Address, Prefix } from "../ip/address.ts";

/** Room one address family leases from. */
export interface AddressPool {
  /** Host bits clear. */
  readonly network: Prefix;
  /** Prefix length of a host's subnet; at most 30 (IPv6: 126), usually 24 (IPv6: 64). */
  readonly subnetLength: number;
  /** First and last subnet start, inclusive, aligned to `subnetLength`. */
  readonly subnetMin: Address;
  readonly subnetMax: Address;
}

/** At least one of `ipv4` and `ipv6` is set: a family is enabled exactly when its pool is there. */
export interface NetworkConfig {
  readonly ipv4?: AddressPool;
  readonly ipv6?: AddressPool;
  /** Default false: iptables, where there is a choice. */
  readonly enableNftables: boolean;
  /** Where packets of containers go without being masqueraded, besides the network itself; missing: nowhere. */
  readonly masqueradeExclude?: MasqueradeExclude;
  /** Missing: the routes stand in the main table. */
  readonly routing?: Routing;
  /** Lower-cased type, for look-up; default `udp`. */
  readonly backendType: string;
  /** The Backend object with its keys as written; each backend reads its own (case-insensitively). */
  readonly backend: Readonly<Record<string, unknown>>;
}

/** Of the enabled families, IPv4 first. */
export function networksOf({ ipv4, ipv6 }: Pick<NetworkConfig, "ipv4" | "ipv6">): Prefix[] {
  return [ipv4?.network, ipv6?.network].filter((network) => network !== undefined);
}

/** All that is stated has to match; at least one thing is. */
export interface RoutingRule {
  /** Its name; it need not exist yet. */
  readonly incomingDevice?: string;
  /** Of the source address. */
  readonly from?: Prefix;
  /** Of the packet on this host (fwmark), 32 bits. */
  readonly mark?: number;
  /** Bits of the mark that count; missing: all. */
  readonly mask?: number;
}

export interface Routing {
  /** In place of the main table: 1 to 2^32 - 1, none of the kernel's own and not 2,410, by which networks are kept apart. */
  readonly table: number;
  readonly rules: readonly RoutingRule[];
}

export interface MasqueradeExclude {
  readonly prefixes: readonly Prefix[];
  /** The public addresses of all hosts with a lease. */
  readonly nodes: boolean;
}

/** Something odd but workable: an unknown key with the nearest known one, a deprecated value. */
export interface ConfigWarning {
  readonly path: string;
  readonly message: string;
}
