// The network configuration (`<prefix>/config`), resolved to one frozen object. Parsing: parse-network-config.ts.
import type { Address, Prefix } from "../ip/address.ts";

/** Room one address family leases from. */
export interface AddressPool {
  /** Host bits clear. */
  readonly network: Prefix;
  readonly subnetLength: number;
  /** First and last subnet start, inclusive, aligned to `subnetLength`. */
  readonly subnetMin: Address;
  readonly subnetMax: Address;
}

/** At least one of `ipv4` and `ipv6` is set: a family is enabled exactly when its pool is there. */
export interface NetworkConfig {
  readonly ipv4?: AddressPool;
  readonly ipv6?: AddressPool;
  readonly enableNftables: boolean;
  /** Where packets of containers go without being masqueraded, besides the network itself; missing: nowhere. */
  readonly masqueradeExclude?: MasqueradeExclude;
  /** Missing: the routes stand in the main table. */
  readonly routing?: Routing;
  /** Lower-cased type, for look-up. */
  readonly backendType: string;
  /** The Backend object with its keys as written; each backend reads its own (case-insensitively). */
  readonly backend: Readonly<Record<string, unknown>>;
}

/** All that is stated has to match; at least one thing is. */
export interface RoutingRule {
  readonly incomingDevice?: string;
  readonly from?: Prefix;
  readonly mark?: number;
  /** Bits of the mark that count; missing: all. */
  readonly mask?: number;
}

export interface Routing {
  /** In place of the main table. */
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
