// Other leases that announce the addresses of this host, and those that took its subnet. Judged by the leases as they stand,
// however they came about: two hosts that start at the same moment see no write of each other. Pure.
import type { Finding } from "../../doctor/finding.ts";
import type { Prefix } from "../../ip/address.ts";
import type { Lease } from "../../lease/lease.ts";
import { describeOwner } from "../../lease/lease-owner.ts";

/** Of a flood the others are counted. */
const MAX_TOLD = 5;

export interface AddressConflict {
  readonly key: string;
  /** A clause for a person. */
  readonly evidence: string;
}

/** Leases beside our own with our public IPv4 or IPv6 address. `others` may contain our own. */
export function addressConflicts(own: Lease, others: readonly Lease[]): readonly AddressConflict[] {
  const { publicIp, publicIpv6 } = own.attributes;
  const conflicts: AddressConflict[] = [];
  for (const other of others) {
    const { attributes, key } = other;
    const isSameIpv4 = publicIp !== undefined && attributes.publicIp === publicIp;
    const isSameIpv6 = publicIpv6 !== undefined && attributes.publicIpv6 === publicIpv6;
    if (key === own.key || !(isSameIpv4 || isSameIpv6) || isUnclaimedReservation(other)) continue;
    const shared = [isSameIpv4 && publicIp, isSameIpv6 && publicIpv6].filter((address) => address !== false);
    const evidence =
      `lease ${key} of ${describeOwner(attributes)} announces this host's public IP ${shared.join(" and ")}, too; ` +
      `this host has lease ${own.key} of ${describeOwner(own.attributes)}`;
    conflicts.push({ key, evidence });
  }
  return conflicts;
}

export function addressConflictFindings(conflicts: readonly AddressConflict[]): Finding[] {
  return conflicts.slice(0, MAX_TOLD).map(({ key, evidence }) => ({
    name: "lease-duplicate-ip",
    severity: "error",
    evidence,
    remedy:
      "give one of the two hosts another address with --iface or --public-ip; if no other host announces it, " +
      `flannelctl lease release --force '${key}'`,
  }));
}

/** Made by an operator for the next start of this host. */
function isUnclaimedReservation({ isReservation, attributes }: Lease): boolean {
  const { backendType, backendData, backendV6Data } = attributes;
  return isReservation && backendType === undefined && backendData === undefined && backendV6Data === undefined;
}

/**
 * In a network without IPv4, an upstream host finds its lease by the IPv4 address 0.0.0.0, which all leases have there,
 * and takes the first one. A host that leased the subnet after our lease had expired looks the same. `earlier`: the subnets
 * that this host had before.
 */
export function takenByUpstreamFindings(
  network: { readonly hasIpv4: boolean; readonly earlier: readonly Prefix[] },
  leases: readonly Lease[],
): Finding[] {
  if (network.hasIpv4 || network.earlier.length === 0) return [];
  return leases
    .filter(({ ipv6Subnet }) => ipv6Subnet !== undefined && network.earlier.includes(ipv6Subnet))
    .slice(0, MAX_TOLD)
    .map(({ key, attributes }) => ({
      name: "lease-taken",
      severity: "warning",
      evidence:
        `lease ${key}, which this host had before, belongs to ${describeOwner(attributes)} now. If it did not expire ` +
        "first, a host with upstream flannel may have taken it: that one looks for its IPv4 address, finds 0.0.0.0 in " +
        "every lease of a network without IPv4, and takes the first",
      remedy:
        "nothing if the lease expired while this host was away; if the other host runs upstream flannel, run the same " +
        "flannel on all hosts, or turn IPv4 on: flannelctl config set # with EnableIPv4",
    }));
}
