// Everything that flags and environment of flanneld say, checked and resolved. Made by cli/flags/flanneld-flags.ts.
import type { Address } from "../ip/address.ts";

export interface EtcdOptions {
  /** As given, comma-separated; checked where the connection is opened. */
  readonly endpoints: string;
  readonly prefix: string;
  /** Paths; only those given. */
  readonly tls: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string };
  /** `--etcd-cert-renew`: the certificate comes from the store itself, which renews it. */
  readonly renewsCertificate?: boolean;
  /** With one of the two that follow, or not at all, as in flannel. */
  readonly username?: string;
  /** Never to be logged. */
  readonly password?: string;
  /** Path of the file that holds the password. */
  readonly passwordFile?: string;
}

/** `--kube-subnet-mgr`: the Nodes of a Kubernetes cluster are the store. */
export interface KubernetesOptions {
  /** As given; without it and a file the agent is in a pod. */
  readonly apiUrl?: string;
  readonly kubeconfigFile?: string;
  /** As given, checked. */
  readonly annotationPrefix: string;
  readonly netConfigFile: string;
  /** `--set-node-network-unavailable` */
  readonly setsNodeCondition: boolean;
  /** `NODE_NAME` */
  readonly nodeName?: string;
  /** `POD_NAMESPACE` and `POD_NAME`: the pod that runs on our Node. */
  readonly pod?: { readonly namespace: string; readonly name: string };
}

/** Traffic rules and what goes with them. */
export interface RuleOptions {
  /** `--ip-masq` */
  readonly masquerade: boolean;
  /** Not `--ip-masq-fully-random-disable` */
  readonly randomFully: boolean;
  /** `--iptables-forward-rules` */
  readonly forward: boolean;
  /** `--iptables-resync`; 0: on notifications only. */
  readonly resyncMs: number;
  /** `--ip-blackhole-route` */
  readonly blackholeRoute: boolean;
}

/** `--networks`, `--watch-networks`: the agent serves several networks, each by its name. */
export interface SeveralNetworks {
  /** Empty: all that the store has. */
  readonly names: readonly string[];
  /** Networks come and go as their configurations do in the store. */
  readonly isWatching: boolean;
  /** `--subnet-dir`: the subnet file of each is `NAME.env` in it. */
  readonly directory: string;
}

/** Frozen for the life of the process. */
export interface AgentOptions {
  /** `embedded`: a store of this agent's own on this host; endpoints, user and files of `etcd` do not matter then. */
  readonly store: "etcd" | "embedded" | "kubernetes";
  /** `--store-listen`: where every user of this host reaches the store `embedded`, besides its socket. */
  readonly storeListen?: string;
  readonly etcd: EtcdOptions;
  /** Of the store `kubernetes`. */
  readonly kubernetes: KubernetesOptions;
  /** `--iface`: names or addresses, in order of preference. */
  readonly interfaces: readonly string[];
  /** `--iface-regex`, Go syntax, unchecked. */
  readonly interfaceRegexes: readonly string[];
  readonly canReach?: Address;
  /** IPv4. */
  readonly publicIp?: Address;
  readonly publicIpv6?: Address;
  readonly subnetFile: string;
  /** Missing: one network without a name. */
  readonly several?: SeveralNetworks;
  /** In the options of one of several networks: its name. */
  readonly networkName?: string;
  /** `--cni-conf-file`, what it is made from (an empty template: our own), and what it is a link to, if it is one. */
  readonly cni?: { readonly file: string; readonly template: string; readonly target?: string };
  /** `--cni-state-dir`: where CNI plugins and container runtimes keep what they know of containers. */
  readonly cniStateDirectory: string;
  readonly stateDirectory: string;
  readonly controlSocket: string;
  /** How long before its end the lease is renewed: 1 to 1439 minutes. */
  readonly renewMarginMs: number;
  /** Missing: no health checks. */
  readonly healthz?: { readonly ip: Address; readonly port: number };
  readonly metrics: {
    /** `--metrics-addr`; missing: no metrics are served. */
    readonly address?: { readonly host: Address; readonly port: number };
    /** `--metrics-per-peer` */
    readonly isPerPeer: boolean;
  };
  readonly rules: RuleOptions;
  /** `--probe-interval`: between two probes of a peer, at least a second; 0: peers are not probed. */
  readonly probeIntervalMs: number;
  /** `--path-mtu`: whether routes to peers are given what their path carries. */
  readonly pathMtu: "show" | "repair";
  readonly logFormat: "text" | "json";
  /** `-v`, at least 0. */
  readonly verbosity: number;
}
