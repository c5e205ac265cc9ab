// What is known of the agent of this host, its process and its leases: from its status, else from its files. Types.
import type { Address, Prefix } from "../ip/address.ts";

export interface AgentFacts {
  /** Missing: none answers. */
  readonly process?: ProcessFacts;
  /** The last ones, oldest first. */
  readonly repairs: readonly { readonly atMs: number; readonly object: string }[];
  /** Program that manages network interfaces here, as far as one runs. */
  readonly networkManager?: string;
  /** Objects that the kernel refused the agent, with its words. */
  readonly refusals: readonly { readonly object: string; readonly error: string }[];
  readonly dataPlaneProblem?: string;
  readonly dataPlanePeers: readonly {
    readonly key: string;
    /** As the data plane counts them; missing where it does not. */
    readonly sentBytes?: number;
    readonly receivedBytes?: number;
    /** RFC 3339. */
    readonly lastHandshakeAt?: string;
  }[];
  /** Of each peer and family that the agent probes, unless it is in order. */
  readonly probes: readonly ProbeFact[];
  readonly own?: LeaseFact;
  /** Why the lease is not this host's any more, or was not renewed, in the agent's words. */
  readonly leaseProblem?: string;
  /** Why the lease cannot be written. */
  readonly leaseWriteProblem?: string;
  /** Those of all hosts, with our own. */
  readonly leases: readonly LeaseFact[];
  /** How many subnets the configuration has room for. */
  readonly poolSize?: number;
  /** Of the lease, as announced: `--public-ip` names one that is on no interface. */
  readonly publicIps?: readonly Address[];
  /** Addresses of the external interface that the agent uses. */
  readonly interfaceAddresses?: readonly Address[];
  readonly subnetFile: SubnetFileFacts;
}

export interface ProcessFacts {
  readonly pid: number;
  /** Open file descriptors, and their limit (RLIMIT_NOFILE, soft); missing: not readable. */
  readonly usedDescriptors?: number;
  readonly maxDescriptors?: number;
  /** Names of capabilities that it lacks of those it needs. */
  readonly missingCapabilities: readonly string[];
  /** /proc/sys is mounted so that it cannot write settings. */
  readonly isSysReadOnly: boolean;
  /** Of its control group (version 2), where that has a limit; as `tasks`. */
  readonly memory?: { readonly usedBytes: number; readonly maxBytes: number };
  /** In that control group, since it was made. */
  readonly outOfMemoryKills?: number;
  /** Threads and processes there. */
  readonly tasks?: { readonly used: number; readonly max: number };
}

/** What probes on the real data path found of one peer, in one family; as in the status. */
export interface ProbeFact {
  /** Key of the lease. */
  readonly peer: string;
  readonly subnet: Prefix;
  readonly publicIp?: string;
  readonly state: "up" | "slow" | "mtuBroken" | "suspect" | "oneWay" | "down" | "unknown";
  /** Of oneWay, which packets get lost: `out` ours, `in` those of the peer. */
  readonly direction?: "in" | "out";
  /** Which probes were answered: `underlay+ tunnel- bridge?`. */
  readonly signature: string;
  /** RFC 3339. */
  readonly since: string;
  /** Largest packet of containers that arrives, and the largest that arrives without fragments. */
  readonly overlayBytes?: number;
  readonly wholeBytes?: number;
}

export interface LeaseFact {
  readonly key: string;
  readonly subnet?: Prefix;
  readonly ipv6Subnet?: Prefix;
  readonly publicIp?: Address;
  readonly publicIpv6?: Address;
  /** Lower case; missing where leases do not say. */
  readonly backendType?: string;
  /** Of the tunnel device, by the family of the underlay, where leases announce one (vxlan); lower case, colons. */
  readonly announcedMac?: string;
  readonly announcedMacV6?: string;
  /** Of the backend vxlan; missing where the lease does not say. */
  readonly vni?: number;
  readonly isReservation: boolean;
}

export interface SubnetFileFacts {
  readonly path: string;
  /** Missing: there is no such file, or nothing is in it. */
  readonly subnets?: readonly Prefix[];
  readonly isThere?: boolean;
}
