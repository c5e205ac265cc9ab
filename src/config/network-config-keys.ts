// The keys of the network configuration, for the parser, near-miss warnings and the generated docs. Pure data.

export interface NetworkConfigKey {
  readonly name: string;
  readonly type: string;
  readonly defaultText: string;
  readonly description: string;
}

/** `MasqueradeExclude` and backend keys are applied to a running agent; a change of another one needs a restart. */
export const networkConfigKeys: readonly NetworkConfigKey[] = [
  {
    name: "EnableIPv4",
    type: "bool",
    defaultText: "true",
    description: "Lease IPv4 subnets. `false` together with `EnableIPv6` makes an IPv6-only network.",
  },
  { name: "EnableIPv6", type: "bool", defaultText: "false", description: "Lease IPv6 subnets." },
  {
    name: "EnableNFTables",
    type: "bool",
    defaultText: "false",
    description: "Write traffic rules with nftables instead of iptables.",
  },
  {
    name: "MasqueradeExclude",
    type: "list of prefixes",
    defaultText: "none",
    description:
      "With `--ip-masq`: destinations outside the network that receive packets with the containers' own addresses. " +
      "`nodes` means the public addresses of all hosts. A change takes effect at once. Upstream ignores this key.",
  },
  {
    name: "Network",
    type: "IPv4 prefix",
    defaultText: "required with IPv4",
    description: "The range of all subnets. Host bits are cleared.",
  },
  {
    name: "SubnetLen",
    type: "int",
    defaultText: "24, or the prefix length of Network + 2 if that is longer",
    description: "Prefix length of each host's subnet: at most 30, and at least two longer than Network.",
  },
  {
    name: "SubnetMin",
    type: "IPv4 address",
    defaultText: "the second subnet of Network",
    description: "First subnet to lease, as the first address of a subnet.",
  },
  {
    name: "SubnetMax",
    type: "IPv4 address",
    defaultText: "the last subnet of Network",
    description: "Last subnet to lease, as the first address of a subnet.",
  },
  {
    name: "IPv6Network",
    type: "IPv6 prefix",
    defaultText: "required with IPv6",
    description: "The range of all IPv6 subnets. Host bits are cleared.",
  },
  {
    name: "IPv6SubnetLen",
    type: "int",
    defaultText: "64, or the prefix length of IPv6Network + 2 if that is longer",
    description: "Prefix length of each host's IPv6 subnet: at most 126, and at least two longer than IPv6Network.",
  },
  {
    name: "IPv6SubnetMin",
    type: "IPv6 address",
    defaultText: "the second subnet of IPv6Network",
    description: "First IPv6 subnet to lease, as the first address of a subnet.",
  },
  {
    name: "IPv6SubnetMax",
    type: "IPv6 address",
    defaultText: "the last subnet of IPv6Network",
    description: "Last IPv6 subnet to lease, as the first address of a subnet.",
  },
  {
    name: "RoutingTable",
    type: "int",
    defaultText: "the main table",
    description:
      "Routing table for the network's routes, 1 to 4294967295 without the kernel's own (253 to 255) and the agent's (2410). Upstream ignores this key.",
  },
  {
    name: "RoutingRules",
    type: "list of objects",
    defaultText: "none",
    description:
      "Which packets are looked up in `RoutingTable`, one `ip rule` each: `IncomingDevice`, `From` (a prefix), `Mark` and `Mask`; all that " +
      "an entry states has to match. Upstream ignores this key.",
  },
  {
    name: "Backend",
    type: "object",
    defaultText: '`{"Type": "udp"}`',
    description: "How packets travel between hosts: `Type`, and the keys of that backend.",
  },
];
