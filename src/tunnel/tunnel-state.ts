// What the user-space data plane is to do: plain comparable data, planned by the udp backend. Pure.
import type { Address, Prefix } from "../ip/address.ts";
import type { LeasedSubnets } from "../lease/lease.ts";

/** One host that packets are exchanged with. A family is used when subnet and address of it are both there. */
export interface TunnelPeer {
  /** Of its lease. */
  readonly key: string;
  readonly subnet?: Prefix;
  readonly publicIp?: Address;
  readonly ipv6Subnet?: Prefix;
  readonly publicIpv6?: Address;
  /** UDP port for `publicIpv6`; IPv4 datagrams go to our own port number. */
  readonly ipv6Port?: number;
}

export interface TunnelState {
  /** Name of the TUN device. */
  readonly device: string;
  /** UDP port, ours and that of all IPv4 peers. */
  readonly port: number;
  /** Addresses of this host that the sockets are bound to; at least one. */
  readonly localIpv4?: Address;
  readonly localIpv6?: Address;
  readonly own: LeasedSubnets;
  readonly peers: readonly TunnelPeer[];
  /** Take a packet only from the host that holds the lease of its inner source, and only for our own subnet. */
  readonly checkSource: boolean;
  /** Use segmentation offloads where the kernel has them. */
  readonly offload: boolean;
}
