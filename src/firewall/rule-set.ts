// Traffic rules as plain data, the same for nftables and iptables. Pure.
import type { Address, Family, Prefix } from "../ip/address.ts";

export interface PrefixMatch {
  readonly prefix: Prefix;
  /** Everything outside of the prefix. */
  readonly isNegated: boolean;
}

/** `clamp-mss`: TCP connections that begin send no larger segments than the routes of both directions allow. `masquerade-random` also makes the source port unguessable, where kernel and tool can. */
export type Verdict = "accept" | "return" | "masquerade" | "masquerade-random" | "clamp-mss";

/** All that is stated has to match. */
export interface Rule {
  /** Bits of the packet's mark that have to be set. */
  readonly mark?: number;
  readonly source?: PrefixMatch;
  /** `nodes`: the addresses of the other hosts. */
  readonly destination?: PrefixMatch | "nodes";
  readonly verdict: Verdict;
}

/** What is wanted for one address family. */
export interface FamilyRules {
  readonly family: Family;
  /** The Network of the configuration: earlier versions' rules are recognised by it. */
  readonly network: Prefix;
  /** In source NAT after routing; missing: no such chain. */
  readonly masquerade?: readonly Rule[];
  /** For forwarded packets; missing: no such chain. */
  readonly forward?: readonly Rule[];
  /** For forwarded packets, before they are judged; missing: no such chain. */
  readonly clamp?: readonly Rule[];
  /** Members of `nodes`; set exactly when a rule uses it. */
  readonly nodes?: readonly Address[];
}

/** What the objects are called in the kernel: flannel's names, with a suffix for a second agent on one host. */
export interface RuleNames {
  /** iptables chain in table nat. */
  readonly masqueradeChain: string;
  /** iptables chain in table filter. */
  readonly forwardChain: string;
  /** iptables chain in table mangle. */
  readonly clampChain: string;
  /** nftables table. */
  readonly table: (family: Family) => string;
  /** ipset. */
  readonly nodeSet: (family: Family) => string;
}

/** `suffix` is empty for the only agent of a host. */
export function ruleNames(suffix: string): RuleNames {
  return {
    masqueradeChain: `FLANNEL-POSTRTG${suffix}`,
    forwardChain: `FLANNEL-FWD${suffix}`,
    clampChain: `FLANNEL-MSS${suffix}`,
    table: (family) => `flannel-ipv${family}${suffix}`,
    nodeSet: (family) => `flannel-nodes${family}${suffix}`,
  };
}

export const masqueradeComment = "flanneld masq";
export const forwardComment = "flanneld forward";
export const clampComment = "flanneld path mtu";
