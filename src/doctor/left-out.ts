// Causes of trouble that people meet and that no check looks for, with the reason; for the docs.

export const leftOut: readonly { readonly name: string; readonly what: string; readonly why: string }[] = [
  {
    name: "proto-blocked",
    what: "a network drops IP protocols other than TCP and UDP",
    why: "what leaves here and does not arrive there is seen only by both ends together",
  },
  {
    name: "nat-unannounced",
    what: "a host behind NAT announces an address that nobody reaches",
    why: "the announced address is right by all that this host can see; peers see `peer-unreachable`",
  },
  {
    name: "tx-checksum",
    what: "a network card writes wrong checksums into tunnelled packets",
    why: "captures show wrong checksums on healthy hosts, too; no test that tells them apart sends packets of its own through containers",
  },
  {
    name: "ipsec-auth",
    what: "IPsec hosts with different keys",
    why: "the agent names the peer that refused, in its log (`ipsec.refused`) and in `flannelctl status`; without the agent only charon's log tells",
  },
  {
    name: "cloud-route-quota",
    what: "the route table of a cloud is full",
    why: "the agent says so in its log and in `flannelctl status` (`CLOUD_QUOTA`); this program does not have the cloud's credentials",
  },
  {
    name: "early-drop by XDP",
    what: "a program of XDP drops packets as they come in",
    why: "nothing of this host sees them before; what traffic control drops is found by echoes that get lost between two devices",
  },
  {
    name: "rules in both kinds of iptables",
    what: "rules in iptables-legacy and iptables-nft at once",
    why: "it does no harm by itself; what drops packets in either is reported",
  },
  {
    name: "missing masquerade",
    what: "containers do not reach the world, since nobody masquerades their packets",
    why: "without --ip-masq that may be intended: another program may masquerade, or none is to",
  },
];
