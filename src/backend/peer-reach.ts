// Reads from a lease where a peer's subnet is and how to get there, distrusting every value. Pure.
import type { AddressPool, NetworkConfig } from "../config/network-config.ts";
import { type Address, type Family, familyOf, type Prefix, prefixLength } from "../ip/address.ts";
import { containsAddress, containsPrefix } from "../ip/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import type { ExternalInterface } from "../underlay/external-interface.ts";

/** One family of one lease, checked. */
export interface PeerReach {
  readonly lease: Lease;
  readonly subnet: Prefix;
  readonly lengthBits: number;
  readonly publicIp: Address;
}

export interface SkippedLease {
  readonly key: string;
  readonly reason: string;
  /** Whose addresses the lease would take; missing for leases that cannot be used for another reason. */
  readonly conflict?: ClaimConflict;
}

/** `own-subnet`: this host's containers; `occupied`: what this host uses for something else; `other-lease`: an older one. */
export type ClaimConflict = "own-subnet" | "occupied" | "other-lease";

/**
 * The leases of this backend type with a subnet of an enabled family; the others are added to `skipped`. `announced` are
 * the types such leases carry: some carry none, some backends understand each other.
 */
export function selectPeers(
  type: string,
  announced: readonly (string | undefined)[],
  config: NetworkConfig,
  leases: readonly Lease[],
  skipped: SkippedLease[],
): readonly Lease[] {
  return leases.filter((lease) => {
    const { backendType } = lease.attributes;
    if (!announced.includes(backendType)) {
      const shown = backendType === undefined ? "no backend type" : `backend type ${JSON.stringify(backendType)}`;
      skipped.push({ key: lease.key, reason: `has ${shown}, not ${type}` });
      return false;
    }
    const hasIpv4 = config.ipv4 !== undefined && lease.subnet !== undefined;
    const hasIpv6 = config.ipv6 !== undefined && lease.ipv6Subnet !== undefined;
    if (!hasIpv4 && !hasIpv6) skipped.push({ key: lease.key, reason: "has no subnet of an enabled address family" });
    return hasIpv4 || hasIpv6;
  });
}

/**
 * `undefined`: the lease has no subnet of this family. A string: why it cannot be used. The host is reached at its address
 * of the family `underlay`.
 */
export function readReach(
  lease: Lease,
  family: Family,
  pool: AddressPool,
  underlay: Family = family,
): PeerReach | string | undefined {
  const subnet = family === 4 ? lease.subnet : lease.ipv6Subnet;
  if (subnet === undefined) return undefined;
  if (familyOf(subnet) !== family || !containsPrefix(pool.network, subnet)) {
    return `subnet ${subnet} is not inside the network ${pool.network}`;
  }
  const publicIp = underlay === 4 ? lease.attributes.publicIp : lease.attributes.publicIpv6;
  const name = underlay === 4 ? "PublicIP" : "PublicIPv6";
  if (publicIp === undefined) return `has no ${name}`;
  if (familyOf(publicIp) !== underlay || !isHostAddress(publicIp)) return `${name} ${publicIp} is not a host's address`;
  if (containsAddress(subnet, publicIp)) return `${name} ${publicIp} lies inside its own subnet ${subnet}`;
  return { lease, subnet, lengthBits: prefixLength(subnet), publicIp };
}

/** Backends of which hosts on one link route to each other plainly, so that a network can change host by host (decision 009). */
export const PLAIN_TYPES: readonly string[] = ["vxlan", "host-gw", "ipip"];

/** Whether its host has another of these backends than `type`. */
export function hasOtherPlainType({ attributes: { backendType } }: Lease, type: string): boolean {
  return backendType !== type && backendType !== undefined && PLAIN_TYPES.includes(backendType);
}

/** Why a host of another backend cannot be reached by a plain route, which is what both backends understand. */
export function otherBackendOffLink({ attributes: { backendType } }: Lease, type: string): string {
  return `has backend type ${JSON.stringify(backendType)}, not ${type}, and its host is not on a link of this host`;
}

/** Whether this machine itself has or announces the address. */
export function isOwnAddress(address: Address, external: ExternalInterface): boolean {
  return (
    address === external.publicIp ||
    address === external.publicIpv6 ||
    address === external.address ||
    address === external.ipv6Address
  );
}

/** False for the unspecified, loopback, multicast, broadcast and IPv4-mapped addresses. */
function isHostAddress(address: Address): boolean {
  if (familyOf(address) === 6) return address !== "::" && address !== "::1" && !/^(ff..:|::ffff:)/.test(address);
  const first = Number.parseInt(address, 10);
  return first !== 0 && first !== 127 && (first < 224 || first > 239) && address !== "255.255.255.255";
}
