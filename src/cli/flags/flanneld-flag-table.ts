// The table of flanneld's flags: names, types and defaults as in flannel v0.28, and our additions. Pure data.
import { type Family, familyOf, tryParseAddress } from "../../ip/address.ts";
import { cniFlags } from "./cni-flags.ts";
import type { FlagDefinition } from "./flags.ts";
import { kubernetesFlags } from "./kubernetes-flags.ts";
import { metricsFlags } from "./metrics-flags.ts";
import { networkFlags } from "./network-flags.ts";
import { probeFlags } from "./probe-flags.ts";
import { storeFlags } from "./store-flags.ts";

/** Undefined when `text` is empty or a usable address of the family. */
function addressRule(family: Family): (text: string) => string | undefined {
  return (text) => {
    const address = tryParseAddress(text);
    const isUsable = address !== undefined && familyOf(address) === family && address !== "0.0.0.0" && address !== "::";
    return text === "" || isUsable ? undefined : `must be an IPv${family} address`;
  };
}

function anyAddressRule(text: string): string | undefined {
  return text === "" || tryParseAddress(text) !== undefined ? undefined : "must be an IP address";
}

function notEmptyRule(text: string): string | undefined {
  return text === "" ? "must not be empty" : undefined;
}

const external = "External interface";
const lease = "Lease and files";
const health = "Health checks";
const logging = "Logging";
const traffic = "Traffic rules";
const general = "General";

export const flanneldFlags: readonly FlagDefinition[] = [
  ...storeFlags,
  {
    name: "iface",
    kind: "strings",
    group: external,
    valueName: "NAME|IP",
    description: "Interface, by name or address, for the traffic between hosts. The first that exists is used.",
  },
  {
    name: "iface-regex",
    kind: "strings",
    group: external,
    valueName: "REGEX",
    description: "Regular expression for the address or name of the interface; tried after --iface.",
  },
  {
    name: "iface-can-reach",
    kind: "string",
    default: "",
    group: external,
    valueName: "IP",
    description: "Use the interface through which this address is reached; tried after --iface-regex.",
    validate: anyAddressRule,
  },
  {
    name: "public-ip",
    kind: "string",
    default: "",
    group: external,
    valueName: "IP",
    description: "IPv4 address under which other hosts reach this host, if it is not the interface's (NAT).",
    validate: addressRule(4),
  },
  {
    name: "public-ipv6",
    kind: "string",
    default: "",
    group: external,
    valueName: "IP",
    description: "The same for IPv6.",
    validate: addressRule(6),
  },
  {
    name: "subnet-file",
    kind: "string",
    default: "/run/flannel/subnet.env",
    group: lease,
    valueName: "FILE",
    description: "File for the leased subnet and the MTU, which Docker, CNI and others read.",
    validate: (text) => (text === "" || text.endsWith("/") ? "must be the path of a file" : undefined),
  },
  ...cniFlags,
  {
    name: "subnet-lease-renew-margin",
    kind: "int",
    default: 60,
    group: lease,
    valueName: "MINUTES",
    description: "How long before the lease expires (24 hours) the agent renews it, 1 to 1439.",
    validate: (value) => (value >= 1 && value <= 1439 ? undefined : "must be from 1 to 1439 (minutes)"),
  },
  {
    name: "state-dir",
    kind: "string",
    default: "/var/lib/flannel",
    group: lease,
    valueName: "DIR",
    description:
      "Directory of the last good configuration, lease and peers, from which the agent starts while the store is unavailable.",
    validate: notEmptyRule,
  },
  {
    name: "control-socket",
    kind: "string",
    default: "",
    group: lease,
    valueName: "FILE",
    description: "Socket on which flannelctl reaches the agent; flanneld.sock beside the subnet file if not given.",
  },
  {
    name: "healthz-ip",
    kind: "string",
    default: "0.0.0.0",
    group: health,
    valueName: "IP",
    description: "Address on which the agent serves /healthz and /readyz.",
    validate: anyAddressRule,
  },
  {
    name: "healthz-port",
    kind: "int",
    default: 0,
    group: health,
    valueName: "PORT",
    description: "Port of the health checks; 0 turns them off.",
    validate: (value) => (value <= 65_535 ? undefined : "must be at most 65535"),
  },
  ...metricsFlags,
  ...probeFlags,
  {
    name: "v",
    kind: "int",
    default: 0,
    group: logging,
    valueName: "LEVEL",
    description: "Verbosity of the log: 1 details, 2 every lease, 4 every kernel object, 6 everything.",
  },
  {
    name: "log-format",
    kind: "string",
    default: "text",
    group: logging,
    valueName: "text|json",
    description: "Format of the log: readable text, or one JSON object per line.",
    validate: (text) => (text === "text" || text === "json" ? undefined : "must be text or json"),
  },
  {
    name: "vmodule",
    kind: "string",
    default: "",
    group: logging,
    description: "flannel's per-file log levels.",
    hasNoEffect: true,
  },
  {
    name: "log_backtrace_at",
    kind: "string",
    default: "",
    group: logging,
    description: "flannel's stack traces at a line of the log.",
    hasNoEffect: true,
  },
  {
    name: "ip-masq",
    kind: "bool",
    default: false,
    group: traffic,
    description:
      "Masquerade traffic from containers to destinations outside the network, so that answers come back to this host.",
  },
  {
    name: "ip-masq-fully-random-disable",
    kind: "bool",
    default: false,
    group: traffic,
    description: "Masquerade without fully random source ports, even if kernel and tool support them.",
  },
  {
    name: "iptables-forward-rules",
    kind: "bool",
    default: true,
    group: traffic,
    description:
      "Accept forwarded packets from and to the network, even if the FORWARD policy is DROP; with nftables, too.",
  },
  {
    name: "iptables-resync",
    kind: "int",
    default: 5,
    group: traffic,
    valueName: "SECONDS",
    validate: (value) => (value >= 0 && value <= 86_400 ? undefined : "must be from 0 to 86400 (seconds)"),
    description:
      "Interval of the checks for changes that the kernel does not announce, mainly in legacy iptables; 0 turns them off.",
  },
  {
    name: "ip-blackhole-route",
    kind: "bool",
    default: false,
    group: traffic,
    description:
      "Drop packets to addresses of this host's subnet that no container has, instead of sending them out again.",
  },
  ...networkFlags,
  ...kubernetesFlags,
  {
    name: "help",
    kind: "bool",
    default: false,
    group: general,
    fromEnvironment: false,
    description: "Show this text.",
  },
  {
    name: "version",
    kind: "bool",
    default: false,
    group: general,
    fromEnvironment: false,
    description: "Show the version.",
  },
];
