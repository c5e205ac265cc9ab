// The one shape in which trouble is told: by preflight, in the status, at the end of `init` and `join`.

/** What each finding is about. A name is stable: people and programs look for it. */
export const findingMeanings = {
  "address-shortage": "Nearly all addresses for containers of this host are reserved, or all: new containers get none.",
  "bridge-mtu": "Containers of this host have another MTU than the network has now.",
  certificate: "A certificate that the connection to the store depends on has expired, or expires within 30 days.",
  clock: "This host's clock is wrong: a certificate that is in use has not begun by it.",
  configuration: "The network configuration in the store differs from the configuration in force.",
  "container-drop": "A rule of another program drops packets of single containers.",
  "container-leftover": "An interface of the containers' bridge belongs to no container that a runtime knows.",
  "device-setting": "A setting of a network device stops packets of containers, or could not be set.",
  "file-descriptors": "The agent has no file descriptor left, or nearly none: it cannot start programs or open files.",
  "external-mtu": "The MTU of the external interface is too small for packets of containers.",
  "forward-policy": "A chain of another program drops forwarded packets.",
  "ip-forward": "IP forwarding is off.",
  "ipsec-daemon": "The backend ipsec needs strongSwan, which is not installed, or not all of it.",
  "kernel-feature": "The kernel lacks a feature that the backend needs.",
  "lease-overlap":
    "A lease is not served, because it would take addresses of this host, of another host or of an older lease.",
  "lease-taken":
    "In a network without IPv4, another host has the lease that this host had before; one with upstream flannel may have taken it.",
  "network-overlap": "The network of the containers overlaps an address or a route of this host.",
  "packet-drop": "A rule of another program drops flannel's packets.",
  "peer-unreachable":
    "The kernel of this host sends packets for a peer, or from it, another way than planned, or drops them.",
  "outdated-bridge":
    "A bridge still has an address of an earlier subnet of this host: its containers must be re-created.",
  "policy-rule":
    "A policy rule of another program routes packets for the network of the containers past the main table.",
  "port-in-use": "Another program uses the UDP port of the backend.",
  "public-ip-shared": "Another lease announces this host's public IP.",
  "rp-filter": "Strict reverse path filtering drops packets whose replies would leave through another interface.",
  "rules-unreadable":
    "Traffic rules of this host cannot be read completely: the agent leaves that table unchanged, so its own rules may be missing.",
  "xtables-lock": "Another program has held the lock of iptables for longer than a second; traffic rules wait for it.",
} as const;

export type FindingName = keyof typeof findingMeanings;

/** Those of the checks of this host; the others are told by who keeps what they are about. */
export type CheckName = Exclude<
  FindingName,
  | ("address-shortage" | "bridge-mtu" | "container-leftover")
  | ("certificate" | "clock" | "configuration" | "file-descriptors" | "xtables-lock")
  | ("lease-overlap" | "lease-taken" | "public-ip-shared")
>;

export interface Finding {
  readonly name: FindingName;
  /** `error`: packets are lost, or the agent cannot do its work. `warning`: they may be, or soon will. */
  readonly severity: "warning" | "error";
  /** What was seen, as a clause for a person. */
  readonly evidence: string;
  /** The command or the action that ends it. */
  readonly remedy: string;
}

/** What a check of this host found. */
export interface CheckFinding extends Finding {
  readonly name: CheckName;
}
