// What the agent asks a store for when it needs a lease: what it announces, and by what it knows its own. Pure.
import type { NetworkConfig } from "../../config/network-config.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import { formatLeaseKey } from "../../lease/lease-key.ts";
import type { LeaseRequest, RememberedLease } from "../../store/subnet-store.ts";
import type { Network } from "./network.ts";

export interface LeaseRequestSources {
  /** All of it, also families that this host does not serve now. */
  readonly config: NetworkConfig;
  readonly network: Network;
  /** The lease that we hold, or remember. */
  readonly own: Lease | undefined;
  /** Of the subnet file. */
  readonly previous: LeasedSubnets;
  /** All of this host. */
  readonly hostAddresses: ReadonlySet<string>;
}

export function leaseRequest(sources: LeaseRequestSources): LeaseRequest {
  const { config, network, own, previous } = sources;
  const present = own ?? previous;
  const remembered = own === undefined ? ofPreviousAgent(sources) : rememberedLease(own, network);
  return {
    config,
    families: network.families,
    attributes: network.attributes(),
    previous: present,
    avoid: network.occupied.besides(present).map(({ prefix }) => prefix),
    ...(remembered !== undefined && { remembered }),
  };
}

function rememberedLease({ key, adapterData }: Lease, network: Network): RememberedLease {
  return { key, adapterData, matches: (attributes) => network.announcesUs(attributes) };
}

/**
 * Another agent (upstream's) ran on this host since it booted, and left its subnet file: the lease of that subnet is ours
 * if it announces an identity of living devices, or any address of this host, whichever that agent chose.
 */
function ofPreviousAgent({ network, previous, hostAddresses }: LeaseRequestSources): RememberedLease | undefined {
  if (previous.subnet === undefined && previous.ipv6Subnet === undefined) return undefined;
  const isHere = ({ publicIp, publicIpv6 }: LeaseAttributes) =>
    [publicIp, publicIpv6].some((address) => address !== undefined && hostAddresses.has(address));
  return {
    key: formatLeaseKey(previous),
    adapterData: undefined,
    matches: (attributes) => network.announcesUs(attributes) || isHere(attributes),
  };
}
