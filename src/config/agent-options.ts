// Everything that flags and environment of flanneld say, checked and resolved. Made by cli/flags/flanneld-flags.ts.
import type { Address } from "../ip/address.ts";

export interface EtcdOptions {
  /** As given, comma-separated; default `http://127.0.0.1:4001,http://127.0.0.1:2379`. Checked where the connection is opened. */
  readonly endpoints: string;
  /** As given; default `/coreos.com/network`. */
  readonly prefix: string;
  /** Paths; only those given. */
  readonly tls: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string };
  /** `--etcd-cert-renew`, default off: the certificate comes from the store itself, which renews it. */
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
  /** Path. */
  readonly kubeconfigFile?: string;
  /** As given, checked; default `flannel.alpha.coreos.com`. */
  readonly annotationPrefix: string;
  /** Path; default `/etc/kube-flannel/net-conf.json`. */
  readonly netConfigFile: string;
  /** `--set-node-network-unavailable`, default on. */
  readonly setsNodeCondition: boolean;
  /** `NODE_NAME` */
  readonly nodeName?: string;
  /** `POD_NAMESPACE` and `POD_NAME`: the pod that runs on our Node. */
  readonly pod?: { readonly namespace: string; readonly name: string };
}

/** Traffic rules and what goes with them. */
export interface RuleOptions {
  /** `--ip-masq`, default off. */
  readonly masquerade: boolean;
  /** Not `--ip-masq-fully-random-disable`; default on. */
  readonly randomFully: boolean;
  /** `--iptables-forward-rules`, default on. */
  readonly forward: boolean;
  /** `--iptables-resync`, in ms here; default 5,000; 0: on notifications only. */
  readonly resyncMs: number;
  /** `--ip-blackhole-route`, default off. */
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
  /** Default `etcd`. `embedded`: a store of this agent's own on this host; endpoints, user and files of `etcd` do not matter then. */
  readonly store: "etcd" | "embedded" | "kubernetes";
  /** `--store-listen`: where every user of this host reaches the store `embedded`, besides its socket. */
  readonly storeListen?: string;
  readonly etcd: EtcdOptions;
  /** Of the store `kubernetes`. */
  readonly kubernetes: KubernetesOptions;
  /** `--iface`: names or addresses, in order of preference. */
  readonly interfaces: readonly string[];
  /** `--iface-regex`, Go syntax, unchecked; tried after `interfaces`. */
  readonly interfaceRegexes: readonly string[];
  /** `--iface-can-reach`: the interface that packets to it leave by. */
  readonly canReach?: Address;
  /** `--public-ip`, IPv4; missing: that of the interface. */
  readonly publicIp?: Address;
  /** `--public-ipv6`; missing: that of the interface. */
  readonly publicIpv6?: Address;
  /** Path; default `/run/flannel/subnet.env`. */
  readonly subnetFile: string;
  /** Missing: one network without a name. */
  readonly several?: SeveralNetworks;
  /** In the options of one of several networks: its name. */
  readonly networkName?: string;
  readonly cni?: {
    /** `--cni-conf-file` */
    readonly file: string;
    /** What it is made from; empty: our own. */
    readonly template: string;
    /** `--cni-conf-target`: what it is a link to, if it is one. */
    readonly target?: string;
    /** `--cni-boot-file`: by which systemd removes it at boot. */
    readonly bootFile?: string;
  };
  /** `--cni-state-dir`, default `/var/lib/cni`: where CNI plugins and container runtimes keep what they know of containers. */
  readonly cniStateDirectory: string;
  /** `--state-dir`, default `/var/lib/flannel`. */
  readonly stateDirectory: string;
  /** Path; default `flanneld.sock` beside the subnet file, or beside the directory of several. */
  readonly controlSocket: string;
  /** How long before its end the lease is renewed: 1 to 1439 minutes, default 60. */
  readonly renewMarginMs: number;
  /** Missing, the default: no health checks. `ip`: default 0.0.0.0. */
  readonly healthz?: { readonly ip: Address; readonly port: number };
  readonly metrics: {
    /** `--metrics-addr`; missing, the default: no metrics are served. */
    readonly address?: { readonly host: Address; readonly port: number };
    /** `--metrics-per-peer`, default off. */
    readonly isPerPeer: boolean;
  };
  readonly rules: RuleOptions;
  /** `--probe-interval`: between two probes of a peer, 1,000 ms (the default) or more; 0: peers are not probed. */
  readonly probeIntervalMs: number;
  /** `--path-mtu`, default `show`: whether routes to peers are given what their path carries. */
  readonly pathMtu: "show" | "repair";
  /** Default `text`. */
  readonly logFormat: "text" | "json";
  /** `-v`, 0 (the default) or more. */
  readonly verbosity: number;
}
