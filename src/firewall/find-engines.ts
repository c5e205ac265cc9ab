// Which of a host's firewall tools the rules belong into.
import { FlannelError } from "../errors.ts";
import type { Family, Prefix } from "../ip/address.ts";
import { IptablesEngine } from "./iptables-engine.ts";
import { NftablesEngine } from "./nftables-engine.ts";
import type { RuleEngine } from "./rule-engine.ts";
import type { RuleHost } from "./rule-host.ts";
import type { RuleNames } from "./rule-set.ts";

export interface FoundEngines {
  /** Where the rules go. */
  readonly primary: RuleEngine;
  /** Where rules of an earlier mode may be left. */
  readonly others: readonly RuleEngine[];
  /** Why this one; a clause for a person. */
  readonly reason: string;
  /** The host lacks what was asked for. */
  readonly warning?: string;
  /** Why one that may have rules of an earlier mode cannot be looked at. */
  readonly unreadable?: string;
}

export interface FindEnginesOptions {
  /** Stays the caller's. */
  readonly host: RuleHost;
  /** EnableNFTables of the configuration. */
  readonly preferNftables: boolean;
  readonly names: RuleNames;
  /** Whose direct rules of old versions are ours; undefined: nobody's. */
  readonly network: (family: Family) => Prefix | undefined;
}

/** Throws `TOOL_MISSING` when the host has neither nft nor iptables in a usable form. */
export async function findEngines({ host, preferNftables, names, network }: FindEnginesOptions): Promise<FoundEngines> {
  const { nft, iptables: variants, chosen } = await host.tools(preferNftables);
  const nftables = nft.tool && new NftablesEngine(nft.tool, names, host);
  const iptables = variants.map((tools) => new IptablesEngine(tools, names, network, host));
  const preferred = iptables.find(({ name }) => name === `iptables-${chosen?.tools.variant}`);
  const unread = nft.isUnreadable === true ? { unreadable: nft.problem } : {};
  const engines = [...(nftables === undefined ? [] : [nftables]), ...iptables];
  const others = (primary: RuleEngine) => engines.filter((engine) => engine !== primary);
  if (preferNftables && nftables !== undefined) {
    return { primary: nftables, others: others(nftables), reason: "EnableNFTables is true" };
  }
  if (!preferNftables && preferred !== undefined) {
    return { primary: preferred, others: others(preferred), reason: chosen?.reason ?? "", ...unread };
  }
  const primary = preferNftables ? preferred : nftables;
  if (primary === undefined) {
    const message = "traffic rules need nft or iptables, and neither works on this host";
    throw new FlannelError("TOOL_MISSING", `${message} (${nft.problem}): install nftables or iptables`);
  }
  const reason = preferNftables ? nft.problem : "this host has no iptables";
  const asked = preferNftables ? "EnableNFTables is true" : "the configuration asks for iptables";
  return { primary, others: others(primary), reason, warning: `${asked}, but ${reason}: using ${primary.name}` };
}
