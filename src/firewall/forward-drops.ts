// Finds chains of others that drop forwarded packets: by their policy, or by a rule that matches everything. No accept of
// ours in another chain outweighs those.
import type { Family } from "../ip/address.ts";
import { findTool, tryTool } from "../sys/run-tool.ts";
import { field, nftEntries } from "./nft-json.ts";
import type { RuleNames } from "./rule-set.ts";

/** A chain that drops what none of its rules accepts. */
export interface ForwardDrop {
  readonly family: Family | "both";
  /** As an operator would name it: `iptables-nft FORWARD`, `nft chain inet firewalld filter_FORWARD`. */
  readonly chain: string;
  /** What drops: `policy DROP`, `rule "reject"`. */
  readonly by: string;
  readonly cure: string;
}

interface ForwardChain {
  readonly family: "ip" | "ip6" | "inet";
  readonly table: string;
  readonly name: string;
  readonly hasDropPolicy: boolean;
}

/** Empty when nft is missing or fails: this is advice. Chains of iptables are not among them. */
export async function nftForwardDrops(names: RuleNames): Promise<ForwardDrop[]> {
  const nft = findTool("nft");
  if (nft === undefined) return [];
  const drops: ForwardDrop[] = [];
  const chains = await tryTool(nft, ["-j", "list", "chains"]);
  if (chains.exitCode !== 0) return drops;
  for (const chain of readForwardChains(chains.stdout, names)) {
    const { family, table, name } = chain;
    const listing = chain.hasDropPolicy ? undefined : await tryTool(nft, ["-j", "list", "chain", family, table, name]);
    const rule = listing?.exitCode === 0 ? readFinalDrop(listing.stdout) : undefined;
    const by = chain.hasDropPolicy ? "policy DROP" : rule === undefined ? undefined : `rule "${rule}"`;
    if (by === undefined) continue;
    drops.push({
      family: family === "inet" ? "both" : family === "ip" ? 4 : 6,
      chain: `nft chain ${family} ${table} ${name}`,
      by,
      cure: cureFor(chain),
    });
  }
  return drops;
}

/** firewalld writes its rules anew at each reload: it has to be told in its own way. */
function cureFor({ family, table, name, hasDropPolicy }: ForwardChain): string {
  if (table === "firewalld")
    return "firewall-cmd --permanent --zone=trusted --add-source=NETWORK && firewall-cmd --reload";
  if (hasDropPolicy) return `nft 'chain ${family} ${table} ${name} { policy accept ; }'`;
  return `nft insert rule ${family} ${table} ${name} ${family === "ip6" ? "ip6" : "ip"} saddr NETWORK accept # and daddr`;
}

/** Reads `nft -j list chains`: base chains in the forward hook, without ours and without those that iptables made. */
export function readForwardChains(json: string, names: RuleNames): ForwardChain[] {
  const chains: ForwardChain[] = [];
  for (const entry of nftEntries(json)) {
    const chain = field(entry, "chain");
    const family = field(chain, "family");
    const [table, name] = [String(field(chain, "table")), String(field(chain, "name"))];
    if (field(chain, "hook") !== "forward" || field(chain, "type") !== "filter") continue;
    if (family !== "ip" && family !== "ip6" && family !== "inet") continue;
    if (family !== "inet" && table === "filter" && name === "FORWARD") continue;
    if (table === names.table(4) || table === names.table(6)) continue;
    chains.push({ family, table, name, hasDropPolicy: field(chain, "policy") === "drop" });
  }
  return chains;
}

/** Reads `nft -j list chain`: the verdict of a rule that drops whatever comes to it; undefined without one. */
export function readFinalDrop(json: string): string | undefined {
  for (const entry of nftEntries(json)) {
    const expressions = field(field(entry, "rule"), "expr");
    if (!Array.isArray(expressions)) continue;
    const verdict = ["drop", "reject"].find((name) => field(expressions.at(-1), name) !== undefined);
    const harmless = ["counter", "log", "limit"];
    const matchesAll = expressions
      .slice(0, -1)
      .every((part) => harmless.some((name) => field(part, name) !== undefined));
    if (verdict !== undefined && matchesAll) return verdict;
  }
  return undefined;
}
