// What checks judge: facts about this host, each gathered only when a check needs it. Types; gathering is gather-facts.ts.
import type { PacketDrop } from "../firewall/packet-drop.ts";
import type { Family, Prefix } from "../ip/address.ts";
import type { PolicyRouting } from "./policy-rules.ts";

export interface HostFacts {
  /** Values of /proc/sys by key with slashes. A setting that this kernel lacks is missing. */
  readonly sysctls: ReadonlyMap<string, string>;
  /** Unicast routes of the main table that share addresses with the network, with the device they are on. Not ours. */
  readonly routes: readonly { readonly destination: Prefix; readonly device: string; readonly hasGateway: boolean }[];
  /** Addresses in subnets that share addresses with the network, with the device they are on. Not ours. */
  readonly addresses: readonly { readonly address: Prefix; readonly device: string }[];
  /** With their own addresses, and how many interfaces are attached. */
  readonly bridges: readonly {
    readonly name: string;
    readonly addresses: readonly Prefix[];
    readonly attached: number;
  }[];
  /** Rules and policies of other programs that drop flannel's traffic. */
  readonly packetDrops: readonly PacketDrop[];
  /** Why places for traffic rules cannot be read. */
  readonly unreadableRules: readonly string[];
  /** UDP ports bound by sockets other than those of vxlan devices. */
  readonly foreignUdpPorts: ReadonlySet<number>;
  /** Policy rules of this host, and the routes that those of others lead to. */
  readonly policyRouting: PolicyRouting;
  /** The kernel's words when it refused to make a device of the kind that is needed; undefined when it makes them. */
  readonly deviceRefusal: string | undefined;
  /** What of strongSwan is missing for the backend ipsec, and how it is installed. */
  readonly missingIpsec: { readonly what: string; readonly cure: string } | undefined;
}

/** What each fact says when no check needs it. */
export const noFacts: HostFacts = {
  sysctls: new Map(),
  routes: [],
  addresses: [],
  bridges: [],
  packetDrops: [],
  unreadableRules: [],
  foreignUdpPorts: new Set(),
  policyRouting: { rules: [], tables: new Map() },
  deviceRefusal: undefined,
  missingIpsec: undefined,
};

export type FactName = keyof HostFacts;

export function forwardingKeyOf(family: Family): string {
  return family === 4 ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding";
}

export function deviceForwardingKeyOf(device: string): string {
  return `net/ipv4/conf/${device}/forwarding`;
}

export function rpFilterKeyOf(device: string): string {
  return `net/ipv4/conf/${device}/rp_filter`;
}
