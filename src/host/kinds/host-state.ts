// What we want the host to look like: plain comparable data, devices by name (an index changes when a device is
// re-created). Pure. The reconciler turns it into kernel objects; `host-state-text.ts` prints it as `ip` lines.
import type { Address, Prefix } from "../../ip/address.ts";

/** A vxlan device (VTEP). Everything but `vni`, `port`, `gbp` can be changed on the living device. */
export interface VxlanLink {
  readonly kind: "vxlan";
  readonly name: string;
  /** Lower case, colons. */
  readonly mac: string;
  readonly mtuBytes: number;
  readonly vni: number;
  /** UDP port; 0 = the kernel's default (8472 unless the module was loaded otherwise). */
  readonly port: number;
  /** Source address of the outer packets; its family is the underlay's. */
  readonly local: Address;
  /** Device the outer packets leave through. */
  readonly underlay: string;
  readonly learning: boolean;
  readonly gbp: boolean;
}

/** A TUN device, which a process of ours attaches to. It stays when the process ends. */
export interface TunLink {
  readonly kind: "tun";
  readonly name: string;
  readonly mtuBytes: number;
}

/** Devices we create, own and delete. */
export type HostLink = VxlanLink | TunLink;

/** One address on a device of ours. Other addresses of that family on the device are removed (IPv6 link-local stays). */
export interface HostAddress {
  readonly device: string;
  readonly address: Prefix;
}

/**
 * A unicast route in the main table. At most one per destination is ours.
 * On a device of ours it carries protocol boot like upstream's; elsewhere our own protocol number.
 */
export interface HostRoute {
  readonly destination: Prefix;
  readonly device: string;
  /** Missing: the device itself takes the packets (TUN). */
  readonly gateway?: Address;
  /** Treat the gateway as reachable on the link without a covering route. */
  readonly onLink: boolean;
}

/** A permanent neighbour (ARP, NDP) entry. */
export interface HostNeighbour {
  readonly device: string;
  readonly address: Address;
  readonly mac: string;
}

/** A permanent forwarding entry of a vxlan device: frames to `mac` go to `destination`. */
export interface HostFdbEntry {
  readonly device: string;
  readonly mac: string;
  readonly destination: Address;
}

/** Written under /proc/sys; `key` with slashes. */
export interface HostSysctl {
  readonly key: string;
  readonly value: string;
}

/**
 * Drops what no other route takes: packets to addresses of our subnet that no container has, which would otherwise
 * leave by the default route and come back. Less preferred than every other route to the same destination, so that a
 * bridge with this very subnet goes before it.
 */
export interface HostBlackhole {
  readonly destination: Prefix;
}

export interface HostState {
  readonly links: readonly HostLink[];
  readonly addresses: readonly HostAddress[];
  readonly routes: readonly HostRoute[];
  readonly neighbours: readonly HostNeighbour[];
  readonly fdb: readonly HostFdbEntry[];
  readonly sysctls: readonly HostSysctl[];
  readonly blackholes?: readonly HostBlackhole[];
}

export const emptyHostState: HostState = {
  links: [],
  addresses: [],
  routes: [],
  neighbours: [],
  fdb: [],
  sysctls: [],
};
