// The one shape in which trouble is told: by preflight, in the status, at the end of `init` and `join`.

/** What each finding is about. A name is stable: people and programs look for it. */
export const findingMeanings = {
  certificate: "A certificate that the connection to the store depends on has expired, or expires within 30 days.",
  configuration: "The store holds another network configuration than the one in force.",
  "external-mtu": "The MTU of the external interface leaves too little for the packets of containers.",
  "forward-policy": "A chain of another program drops forwarded packets.",
  "ip-forward": "IP forwarding is off.",
  "kernel-feature": "The kernel lacks a feature that the backend needs.",
  "network-overlap": "The network of the containers overlaps a network that this host already uses.",
  "policy-rule":
    "A policy rule of another program leads packets for the network of the containers past the main table.",
  "port-in-use": "Another program holds the UDP port of the backend.",
  "rp-filter": "Strict reverse path filtering drops packets whose answer would leave through another interface.",
} as const;

export type FindingName = keyof typeof findingMeanings;

/** Those of the checks of this host; the others are told by who keeps the certificate and the configuration. */
export type CheckName = Exclude<FindingName, "certificate" | "configuration">;

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
