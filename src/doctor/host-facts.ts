// What checks judge: facts about this host, each gathered only when a check needs it. Types; gathering is gather-facts.ts for
// what the agent asks at any time, and gather/ for what only `flannelctl doctor` does.
import type { KernelDeviceKind } from "../backend/backend.ts";
import type { PacketDrop } from "../firewall/packet-drop.ts";
import type { Family, Prefix } from "../ip/address.ts";
import type { LinkMessage, NeighbourMessage } from "../netlink/rtnetlink/messages.ts";
import type { AgentFacts } from "./agent-facts.ts";
import type { ContainerFacts } from "./container-facts.ts";
import type { Finding } from "./finding.ts";
import type { FollowedEcho } from "./followed-echo.ts";
import type { EchoFacts, UnderlayWay } from "./peer-facts.ts";
import type { PolicyRouting } from "./policy-rules.ts";
import type { StoreFacts } from "./store-facts.ts";

export interface HostFacts extends DoctorFacts {
  /** Values of /proc/sys by key with slashes. A setting that this kernel lacks is missing. */
  readonly sysctls: ReadonlyMap<string, string>;
  /** Unicast routes of the main table that share addresses with the network, with the device they are on. Not ours. */
  readonly routes: readonly { readonly destination: Prefix; readonly device: string; readonly hasGateway: boolean }[];
  /** Addresses in subnets that share addresses with the network, with the device they are on. Not ours. */
  readonly addresses: readonly { readonly address: Prefix; readonly device: string }[];
  /** With their own addresses, and how many interfaces are attached. */
  readonly bridges: readonly BridgeFact[];
  /** Rules and policies of other programs that drop flannel's traffic. */
  readonly packetDrops: readonly PacketDrop[];
  /** Why places for traffic rules cannot be read. */
  readonly unreadableRules: readonly string[];
  /** UDP ports bound by sockets other than those of vxlan devices. */
  readonly foreignUdpPorts: ReadonlySet<number>;
  /** Policy rules of this host, and the routes that those of others lead to. */
  readonly policyRouting: PolicyRouting;
  /** The kernel's words when it refused to make a device of the kind that is needed; undefined when it makes them. */
  readonly deviceRefusal: { readonly kind: KernelDeviceKind; readonly refusal: string } | undefined;
  /** What of strongSwan is missing for the backend ipsec, and how it is installed. */
  readonly missingIpsec: { readonly what: string; readonly cure: string } | undefined;
  /** What the kernel's answers for packets to and from peers amount to. */
  readonly wayFindings: readonly Finding[];
}

/** What takes longer, asks others, or reads more of the host than an agent should all the time. */
export interface DoctorFacts {
  /** All of this namespace. */
  readonly links: readonly LinkMessage[];
  /** All of this namespace, with IFA_FLAGS. */
  readonly hostAddresses: readonly { readonly address: Prefix; readonly device: string; readonly flags: number }[];
  /** Of devices that are not flannel's. */
  readonly neighbours: readonly (Pick<NeighbourMessage, "address" | "mac" | "state"> & { readonly device: string })[];
  /** How the kernel reaches the hosts of peers. */
  readonly underlayWays: readonly UnderlayWay[];
  /** Counters of the kernel by name (`TcpExt.IPReversePathFilter`), and how much they grew in half a second. */
  readonly counters: ReadonlyMap<string, { readonly value: number; readonly growth: number }>;
  readonly tables: TableFacts;
  /** Neighbours of all network namespaces that the kernel may forget, against net.ipv4.neigh.default.gc_thresh3 or that of IPv6. */
  readonly neighbourUse: readonly NeighbourUse[];
  /** Who has held the lock of iptables for a second or longer, in words. */
  readonly lockHolder: string | undefined;
  /** Rules of iptables that change the source of packets between containers, as iptables-save prints them. */
  readonly masqueradeRules: readonly string[];
  /** Rules that drop the ICMP message of path MTU discovery, as iptables-save prints them. */
  readonly tooBigDrops: readonly string[];
  /** What drops echo requests of peers to this host. */
  readonly echoDrops: readonly PacketDrop[];
  readonly disks: readonly DiskFact[];
  /** What is at the UDP port of the backend: a program, by name and pid. Missing: nothing, or the kernel's own device. */
  readonly portHolder: string | undefined;
  /** Why /dev/net/tun cannot be used; undefined when it can. */
  readonly tunRefusal: string | undefined;
  /** Another MAC address that answers an ARP probe for the announced address. */
  readonly addressTwins: readonly { readonly address: string; readonly mac: string }[];
  /** Lines as of `flannelctl plan`. */
  readonly planDifference: readonly string[];
  readonly agent: AgentFacts;
  readonly containers: ContainerFacts;
  readonly echoes: readonly EchoFacts[];
  /** Whose way through this host was watched. */
  readonly followedEchoes: readonly FollowedEcho[];
  readonly store: StoreFacts;
}

export interface BridgeFact {
  readonly name: string;
  readonly addresses: readonly Prefix[];
  readonly attached: number;
}

/** Tables of the kernel that can be full. */
export interface TableFacts {
  readonly conntrack?: { readonly used: number; readonly max: number };
}

export interface NeighbourUse {
  readonly family: Family;
  readonly used: number;
  readonly max: number;
}

export interface DiskFact {
  readonly path: string;
  /** What lives there, in words. */
  readonly holds: string;
  readonly freeBytes: number;
  /** Missing where the file system has no limit. */
  readonly freeInodes?: number;
}

/** Those that the agent gathers at any time. */
export const agentFacts = [
  ...["sysctls", "routes", "addresses", "bridges", "packetDrops", "unreadableRules"],
  ...["foreignUdpPorts", "policyRouting", "deviceRefusal", "wayFindings", "missingIpsec"],
] as readonly Exclude<keyof HostFacts, keyof DoctorFacts>[];

export type FactName = keyof HostFacts;

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
  wayFindings: [],
  links: [],
  hostAddresses: [],
  neighbours: [],
  underlayWays: [],
  counters: new Map(),
  tables: {},
  neighbourUse: [],
  lockHolder: undefined,
  masqueradeRules: [],
  tooBigDrops: [],
  echoDrops: [],
  disks: [],
  portHolder: undefined,
  tunRefusal: undefined,
  addressTwins: [],
  planDifference: [],
  agent: {
    ...{ repairs: [], refusals: [], dataPlanePeers: [], probes: [], leases: [] },
    subnetFile: { path: "" },
  },
  containers: { bridgePorts: [], namespaces: [], reservations: [], bridgeNames: [], cniFiles: [] },
  echoes: [],
  followedEchoes: [],
  store: { endpoints: [], certificates: [] },
};

export function forwardingKeyOf(family: Family): string {
  return family === 4 ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding";
}

export function deviceForwardingKeyOf(device: string): string {
  return `net/ipv4/conf/${device}/forwarding`;
}

/** Among the counters: how often the table of neighbours had no room. */
export function neighbourOverflows(family: Family): string {
  return `${family === 4 ? "arp" : "ndisc"}_cache.table_fulls`;
}

export function rpFilterKeyOf(device: string): string {
  return `net/ipv4/conf/${device}/rp_filter`;
}

export function ipv6OffKeyOf(device: string): string {
  return `net/ipv6/conf/${device}/disable_ipv6`;
}
