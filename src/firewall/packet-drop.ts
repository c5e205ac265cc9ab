// What the rules of other programs do to flannel's packets, in words: the chain, the rule, whom it concerns and what ends it.
import type { Family } from "../ip/address.ts";
import type { HookChain } from "./hook-chain.ts";
import type { Hook, ScanContext, TestWay } from "./hook-packets.ts";
import { type ChainDrop, MOST } from "./hook-walk.ts";
import type { RuleTexts } from "./rule-texts.ts";

/** A chain that drops what it should not, or sends it elsewhere. */
export interface PacketDrop {
  readonly family: Family | "both";
  /** As an operator would name it: `iptables-nft FORWARD`, `nft chain inet firewalld filter_FORWARD`. */
  readonly chain: string;
  readonly hook: Hook;
  /** Which of flannel's packets. */
  readonly what: string;
  /** What drops: `policy DROP`, `rule "reject"`. */
  readonly by: string;
  readonly cure: string;
  /** False when something before it that cannot be judged may let them pass. */
  readonly isCertain: boolean;
  /** Only of single addresses that rules name. */
  readonly isOfSingle: boolean;
  /** It is the tunnel's packets that are dropped, not those inside. */
  readonly isOfTunnel: boolean;
  /** Between the host's routing and the interfaces of containers. */
  readonly isAtBridge: boolean;
  /** They are not dropped, but get another destination. */
  readonly isRewrite: boolean;
  /** Docker's rule that lets packets in from the container's bridge only. */
  readonly isDockers: boolean;
}

/** A chain that drops packets on one of their ways. */
export interface TriedDrop {
  readonly chain: HookChain;
  readonly way: TestWay;
  readonly drop: ChainDrop;
}

/** One entry for each chain: what it drops of all packets, else of single ones. */
export async function summarizeDrops(
  found: readonly TriedDrop[],
  context: ScanContext,
  texts: RuleTexts,
): Promise<PacketDrop[]> {
  const byChain = new Map<HookChain, TriedDrop[]>();
  for (const tried of found) {
    const drops = byChain.get(tried.chain);
    if (drops === undefined) byChain.set(tried.chain, [tried]);
    else drops.push(tried);
  }
  const summaries: PacketDrop[] = [];
  for (const [chain, drops] of byChain) summaries.push(await summarize(chain, drops, context, texts));
  return summaries;
}

async function summarize(
  chain: HookChain,
  drops: readonly TriedDrop[],
  context: ScanContext,
  texts: RuleTexts,
): Promise<PacketDrop> {
  const ofAll = drops.filter(({ drop }) => drop.share > MOST);
  const isOfSingle = ofAll.length === 0;
  const told = isOfSingle ? drops : ofAll;
  const isCertain = told.some(({ drop }) => drop.isCertain);
  const counted = told.filter(({ drop }) => drop.isCertain === isCertain);
  const rules = new Map(counted.map(({ drop }) => [`${drop.inChain} ${drop.rule?.handle}`, drop]));
  const [first] = rules.values();
  const more = rules.size > 1 ? ` and ${rules.size - 1} more` : "";
  const isRewrite = first?.isRewrite === true;
  const text = first?.rule === undefined ? undefined : await texts.textOf(chain, first.inChain, first.rule);
  const inChain = first === undefined || first.inChain === chain.name ? "" : ` in chain ${first.inChain}`;
  return {
    family: chain.family === "ip" ? 4 : chain.family === "ip6" ? 6 : "both",
    chain: chainText(chain),
    hook: chain.hook,
    what: whatText(counted.map(({ way }) => way.what)),
    by: text === undefined ? "policy DROP" : `rule "${text}"${inChain}${more}`,
    cure: isRewrite
      ? keepingDestination(chain, counted[0]?.way)
      : cureFor(chain, text, first?.inChain ?? chain.name, counted[0]?.way, context),
    isCertain,
    isOfSingle,
    isOfTunnel: counted[0]?.way.packet.destinationPort !== undefined,
    isAtBridge: chain.family === "bridge" || (chain.table === "mangle" && chain.hook === "postrouting"),
    isRewrite,
    isDockers: isDockers(chain, text),
  };
}

/** What is true of all packets of a direction is not reported once more of some of them. */
function whatText(all: readonly string[]): string {
  const whats = [...new Set(all)];
  return whats.filter((what) => !whats.some((other) => other !== what && what.startsWith(`${other} (`))).join(", ");
}

/** iptables' tables by its own name, since that is where their rules are written. */
function chainText(chain: HookChain): string {
  const program = iptablesProgram(chain);
  if (program === undefined) return `nft chain ${chain.family} ${chain.table} ${chain.name}`;
  return `${program} ${chain.table === "filter" ? "" : `-t ${chain.table} `}${chain.name}`;
}

/** Undefined: not one of its tables. */
function iptablesProgram({ family, table, name, isLegacy }: HookChain): string | undefined {
  if (family !== "ip" && family !== "ip6") return undefined;
  if (!["filter", "raw", "mangle", "nat", "security"].includes(table) || name !== name.toUpperCase()) return undefined;
  return `${family === "ip" ? "iptables" : "ip6tables"}-${isLegacy ? "legacy" : "nft"}`;
}

/** A rule that lets packets of containers in to their bridge only, wherever the packets come from. */
const bridgeOnly = /iifname !=|! -i /;

function isDockers({ table, hook }: HookChain, rule: string | undefined): boolean {
  return (table === "raw" || table.startsWith("docker-")) && hook === "prerouting" && bridgeOnly.test(rule ?? "");
}

function cureFor(
  chain: HookChain,
  rule: string | undefined,
  inChain: string,
  way: TestWay | undefined,
  context: ScanContext,
): string {
  const { family, table } = chain;
  const port = way?.packet.destinationPort;
  if (table === "firewalld") {
    const zone = port === undefined ? "--zone=trusted --add-source=NETWORK" : `--add-port=${port}/udp`;
    return `firewall-cmd --permanent ${zone} && firewall-cmd --reload`;
  }
  if (inChain.startsWith("ufw")) {
    return port === undefined ? "ufw route allow from NETWORK && ufw route allow to NETWORK" : `ufw allow ${port}/udp`;
  }
  if (isDockers(chain, rule)) {
    const tunnel = context.tunnel[family === "ip6" ? 6 : 4];
    return `dockerd --allow-direct-routing # Docker 28.2 and newer; or for one network: docker network create -o com.docker.network.bridge.trusted_host_interfaces=${tunnel ?? "DEVICE"}`;
  }
  const program = iptablesProgram(chain);
  if (rule === undefined) return acceptingPolicy(chain, program);
  return program === undefined ? acceptingNftRule(chain, way) : acceptingIptablesRule(chain, program, port);
}

/** Connections that are open keep the destination that they were given. */
function keepingDestination(chain: HookChain, way: TestWay | undefined): string {
  const { family, table, name } = chain;
  const port = way?.packet.destinationPort;
  const program = iptablesProgram(chain);
  const ip = way?.packet.family === 6 ? "ip6" : "ip";
  const [nft, iptables, open] =
    port === undefined
      ? [`${ip} daddr NETWORK`, "-d NETWORK", "-d NETWORK"]
      : [`udp dport ${port}`, `-p udp --dport ${port}`, `-p udp --orig-port-dst ${port}`];
  const accept =
    program === undefined
      ? `nft insert rule ${family} ${table} ${name} ${nft} accept`
      : `${program} -t nat -I ${name} ${iptables} -j ACCEPT`;
  return `${accept}; conntrack -D ${open} # in the program that owns the rule`;
}

function acceptingPolicy({ family, table, name }: HookChain, program: string | undefined): string {
  return program === undefined
    ? `nft 'chain ${family} ${table} ${name} { policy accept ; }'`
    : `${program} -P ${name} ACCEPT`;
}

function acceptingIptablesRule({ table, name }: HookChain, program: string, port: number | undefined): string {
  const what = port === undefined ? "-s NETWORK -j ACCEPT # and -d" : `-p udp --dport ${port} -j ACCEPT`;
  return `${program} ${table === "filter" ? "" : `-t ${table} `}-I ${name} ${what}`;
}

function acceptingNftRule({ family, table, name }: HookChain, way: TestWay | undefined): string {
  const port = way?.packet.destinationPort;
  const ip = way?.packet.family === 6 ? "ip6" : "ip";
  const what = port === undefined ? `${ip} saddr NETWORK accept # and daddr` : `udp dport ${port} accept`;
  return `nft insert rule ${family} ${table} ${name} ${what}`;
}
