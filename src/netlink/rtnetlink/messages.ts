// rtnetlink messages as plain data, one type per kernel object; indexes instead of names, numbers as in the headers
// (linux/rtnetlink.h, linux/if_link.h, linux/neighbour.h, linux/nexthop.h, linux/fib_rules.h). Pure.
import type { Address, Family, Prefix } from "../../ip/address.ts";

export interface VxlanAttributes {
  /** 24 bits. */
  readonly vni: number;
  readonly local?: Address;
  readonly group?: Address;
  /** Index of the underlay device; missing = none. */
  readonly linkIndex?: number;
  /** UDP port at which it receives and to which it sends. */
  readonly port: number;
  readonly learning: boolean;
  readonly gbp: boolean;
  readonly l2miss: boolean;
  readonly l3miss: boolean;
  /** `external`: takes packets of every VNI at its port (IFLA_VXLAN_COLLECT_METADATA). */
  readonly isExternal?: boolean;
}

/** Of an ipip or ip6tnl device. */
export interface IpipAttributes {
  readonly local?: Address;
  /** The one peer of a point-to-point device. */
  readonly remote?: Address;
  readonly linkIndex?: number;
  /** 0: that of the inner packet. */
  readonly ttl: number;
  readonly tos: number;
  readonly isPmtuDiscovered: boolean;
  /** 4 (IPv4), 41 (IPv6), 137 (MPLS), or 0 for all that the kind carries. */
  readonly protocol: number;
  /** Inside of UDP (FOU, GUE). */
  readonly isEncapsulated: boolean;
  /** `external`: routes say where packets go. */
  readonly isExternal: boolean;
}

export interface LinkMessage {
  readonly index: number;
  readonly name: string;
  /** `ip link property add … altname`: other names of the same device; missing where it has none. */
  readonly altNames?: readonly string[];
  /** IFLA_INFO_KIND; missing for physical and loopback devices. */
  readonly kind?: string;
  readonly mtuBytes: number;
  /** Lower case, colons; missing where the device has none. */
  readonly mac?: string;
  /** IFF_UP, IFF_RUNNING and IFF_LOOPBACK of ifi_flags. */
  readonly isUp: boolean;
  readonly isRunning: boolean;
  readonly isLoopback: boolean;
  /** Ethernet with IFF_NOARP: it neither asks for neighbours nor answers who asks. */
  readonly isWithoutArp?: true;
  /** IFLA_MASTER: the bridge, bond or VRF that it is part of. */
  readonly masterIndex?: number;
  /** IFLA_LINK of a veth device: index of its other end, in the network namespace where that is. */
  readonly peerIndex?: number;
  readonly vxlan?: VxlanAttributes;
  /** Of kind ipip or ip6tnl. */
  readonly ipip?: IpipAttributes;
}

export interface AddressMessage {
  readonly index: number;
  /** IFA_LOCAL where set, else IFA_ADDRESS, with its prefix length. */
  readonly address: Prefix;
  /** RT_SCOPE_*. */
  readonly scope: number;
  /** IFA_FLAGS. */
  readonly flags: number;
}

export interface RouteMessage {
  readonly family: Family;
  readonly destination: Prefix;
  /** RTA_TABLE where set, else rtm_table. */
  readonly table: number;
  /** RTPROT_*, RT_SCOPE_*, RTN_*. */
  readonly protocol: number;
  readonly scope: number;
  readonly type: number;
  /** RTA_PRIORITY, 0 when missing. */
  readonly metric: number;
  readonly tos: number;
  readonly outIndex?: number;
  readonly gateway?: Address;
  readonly preferredSource?: Address;
  /** RTAX_MTU of RTA_METRICS. */
  readonly mtuBytes?: number;
  /** RTA_ENCAP as `ip route` prints it, without what is 0: `ip6 src 2001:db8::1 dst 2001:db8::2`. */
  readonly encapsulation?: string;
  readonly onLink: boolean;
  /** RTA_NH_ID (Linux 5.3): the gateway and device are then those of the next-hop object. */
  readonly nextHopId?: number;
  /** RTA_MULTIPATH present: never ours. */
  readonly isMultipath: boolean;
  /** Of RTA_MULTIPATH, in the kernel's order; the route itself then names neither device nor gateway. */
  readonly nextHops?: readonly RouteNextHop[];
}

/** One of several next hops of a route. Weights are nobody's business here. */
export interface RouteNextHop {
  readonly outIndex: number;
  readonly gateway?: Address;
  /** False when its device is gone, down or without carrier. */
  readonly isUsable: boolean;
}

export interface NeighbourMessage {
  readonly family: Family;
  readonly index: number;
  readonly address: Address;
  readonly mac?: string;
  /** NUD_* bits. */
  readonly state: number;
}

export interface FdbMessage {
  readonly index: number;
  readonly mac: string;
  readonly destination?: Address;
  /** NUD_* bits and NTF_* flags. */
  readonly state: number;
  readonly flags: number;
}

export interface NextHopMessage {
  readonly id: number;
  readonly family: Family;
  readonly protocol: number;
  readonly outIndex?: number;
  readonly gateway?: Address;
  readonly onLink: boolean;
  readonly isGroup: boolean;
  /** Ids of a group's members, in the kernel's order. */
  readonly memberIds?: readonly number[];
}

/** A policy rule. What is missing matches everything. */
export interface RuleMessage {
  readonly family: Family;
  /** FRA_PRIORITY: rules are asked in ascending order. */
  readonly priority: number;
  /** FR_ACT_*. */
  readonly action: number;
  /** 0 when the action is no look-up. */
  readonly table: number;
  /** RTPROT_*. */
  readonly protocol: number;
  readonly from?: Prefix;
  readonly to?: Prefix;
  readonly fwmark?: number;
  readonly fwmask?: number;
  readonly incomingDevice?: string;
  readonly outgoingDevice?: string;
  readonly suppressPrefixLength?: number;
  /** Where a goto leads. */
  readonly gotoPriority?: number;
  readonly isInverted: boolean;
  /** The table is that of the packet's VRF. */
  readonly isL3mdev: boolean;
  /** It also selects by what is not read here: user, ports, protocol, TOS, tunnel. */
  readonly hasOtherSelectors: boolean;
}

/** IPv4 settings of one device; what is missing was not reported. */
export interface DeviceSettingsMessage {
  /** `netconfa.allDevices` and `netconfa.newDevices` stand for `all` and `default` of /proc/sys/net/ipv4/conf. */
  readonly index: number;
  readonly forwarding?: boolean;
  readonly rpFilter?: number;
}

/** Every kind of object we read, with its message. */
export interface ObjectKinds {
  link: LinkMessage;
  address: AddressMessage;
  route: RouteMessage;
  neighbour: NeighbourMessage;
  fdb: FdbMessage;
  nextHop: NextHopMessage;
  rule: RuleMessage;
  deviceSettings: DeviceSettingsMessage;
}
export type ObjectKind = keyof ObjectKinds;

/**
 * Marks routes and next hops of ours that stand on devices which are not ours. Free in iproute2's rt_protos
 * (which ends at 192) and outside the ranges of FRR and bird.
 */
export const FLANNEL_PROTOCOL = 0xf1;
