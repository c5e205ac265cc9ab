// Looks for rules and policies of other programs that drop flannel's traffic, in every hook: no accept of ours in another
// chain outweighs them. Reads the rules with nft, and legacy iptables with its own tool.
import { setImmediate as nextTurn } from "node:timers/promises";
import { FlannelError } from "../errors.ts";
import type { Family, Prefix } from "../ip/address.ts";
import { findTool, rejected, runTool, tryTool } from "../sys/run-tool.ts";
import { type Hook, type ScanContext, type TestPacket, type TestWay, testWays } from "./hook-packets.ts";
import { addNftObject, collectNamedPrefixes, type HookChain, type HookTables, outcomeOf } from "./hook-rules.ts";
import { legacyTables } from "./iptables-engine.ts";
import { readSavedRules } from "./legacy-rules.ts";
import { field, nftEntries } from "./nft-json.ts";
import { nftObjects } from "./nft-objects.ts";
import type { RuleNames } from "./rule-set.ts";

/** A chain that drops what it should not. */
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
}

/** Other work gets its turn after that. One packet in one base chain is not interrupted. */
const TURN_MS = 5;

/** Goes through the steps and lets other work pass. */
async function inTurns<Step>(steps: Iterable<Step>, use?: (step: Step) => void): Promise<void> {
  let turnMs = performance.now();
  for (const step of steps) {
    use?.(step);
    if (performance.now() - turnMs <= TURN_MS) continue;
    await nextTurn();
    turnMs = performance.now();
  }
}

/** Throws what a tool says. Empty where neither nft nor iptables is installed. */
export async function scanHooks(context: ScanContext, names: RuleNames): Promise<PacketDrop[]> {
  const tables: HookTables = new Map();
  await readRules(tables);
  const named = new Set<Prefix>();
  await inTurns(collectNamedPrefixes(tables, named));
  const ways = testWays(context, [...named]);
  const found: Dropped[] = [];
  let turnMs = performance.now();
  for (const chains of tables.values()) {
    for (const chain of chains.values()) {
      if (chain.hook === undefined || isOurs(chain, names)) continue;
      for (const way of ways) {
        if (performance.now() - turnMs > TURN_MS) {
          await nextTurn();
          turnMs = performance.now();
        }
        const packet = packetAt(chain, way);
        if (packet === undefined) continue;
        const outcome = outcomeOf(chain, packet, tables);
        if (outcome.type === "drop") {
          found.push({ chain, way, isCertain: !outcome.isUncertain, ...(outcome.rule && { rule: outcome.rule.text }) });
        }
      }
    }
  }
  return summarize(found, context);
}

async function readRules(tables: HookTables): Promise<void> {
  const nft = findTool("nft");
  if (nft !== undefined) await readNft(nft, tables);
  else await readSaved("iptables-nft-save", false, tables);
  await readSaved("iptables-legacy-save", true, tables);
}

/** Only tables with a chain that can drop: those of nat are the largest ones of a host. */
async function readNft(nft: string, tables: HookTables): Promise<void> {
  const wanted = new Set<string>();
  for (const entry of nftEntries(await runTool(nft, ["-j", "-t", "list", "chains"]))) {
    const chain = field(entry, "chain");
    if (field(chain, "hook") === undefined || field(chain, "type") === "nat" || field(chain, "family") === "arp")
      continue;
    wanted.add(`${String(field(chain, "family"))} ${String(field(chain, "table"))}`);
  }
  for (const table of wanted) {
    const args = ["-j", "-t", "list", "table", ...table.split(" ")];
    const listing = await tryTool(nft, args);
    // Gone since the list of chains was made.
    if (listing.exitCode !== 0 && listing.stderr.includes("No such file or directory")) continue;
    if (listing.exitCode !== 0) throw rejected(nft, args, listing);
    // nft up to 1.0.6 leaves the devices out of its JSON.
    const devices = table.startsWith("netdev ") ? await readDevices(nft, table) : undefined;
    await inTurns(nftObjects(listing.stdout), (object) => addNftObject(tables, object, devices));
  }
}

/** Of each chain in a table of family netdev. */
async function readDevices(nft: string, table: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const { stdout } = await tryTool(nft, ["-t", "list", "table", ...table.split(" ")]);
  const devices = new Map<string, readonly string[]>();
  for (const [, chain = "", head = ""] of stdout.matchAll(/chain (\S+) \{\s*type \S+ hook \S+ ([^;]*) priority/g)) {
    devices.set(chain, head.match(/[^\s",{}=]+/g)?.filter((word) => !/^devices?$/.test(word)) ?? []);
  }
  return devices;
}

async function readSaved(program: string, isLegacy: boolean, tables: HookTables): Promise<void> {
  for (const family of [4, 6] as const) {
    // Listing legacy tables that do not exist would make them.
    if (isLegacy && legacyTables(family).length === 0) continue;
    const tool = findTool(family === 4 ? program : program.replace("ip", "ip6"));
    if (tool === undefined) continue;
    const text = await runTool(tool, []);
    if (text.length > MAX_SAVED_CHARACTERS) {
      throw new FlannelError("FIREWALL_UNREADABLE", `${tool} prints more rules than can be looked through`);
    }
    await inTurns(readSavedRules(text, family, isLegacy, tables));
  }
}

const MAX_SAVED_CHARACTERS = 16 * 1024 * 1024;

function isOurs({ table }: HookChain, names: RuleNames): boolean {
  return table === names.table(4) || table === names.table(6);
}

/** As the chain sees it; undefined when it does not meet the packet. */
function packetAt(
  { family, hook, devices }: HookChain,
  { packet, hooks, bridgeHooks }: TestWay,
): TestPacket | undefined {
  if (hook === undefined) return undefined;
  if (family === "bridge") {
    // Its devices are the ports.
    return bridgeHooks.includes(hook) ? { ...packet, incoming: undefined, outgoing: undefined } : undefined;
  }
  if (!hooks.includes(hook)) return undefined;
  if ((family === "ip" && packet.family === 6) || (family === "ip6" && packet.family === 4)) return undefined;
  if (hook === "ingress" || hook === "egress") {
    const device = hook === "ingress" ? packet.incoming : packet.outgoing;
    return device !== undefined && devices.includes(device) ? packet : undefined;
  }
  if (hook === "prerouting" || hook === "input") return { ...packet, outgoing: "" };
  // Kernels differ in whether it is still known there.
  return hook === "postrouting" ? { ...packet, incoming: undefined } : packet;
}

interface Dropped {
  readonly chain: HookChain;
  readonly way: TestWay;
  /** Missing: the policy. */
  readonly rule?: string;
  readonly isCertain: boolean;
}

/** One entry for each chain: what it drops of all packets, else of single ones. */
function summarize(found: readonly Dropped[], context: ScanContext): PacketDrop[] {
  const byChain = new Map<HookChain, Dropped[]>();
  for (const dropped of found) byChain.set(dropped.chain, [...(byChain.get(dropped.chain) ?? []), dropped]);
  return [...byChain].map(([chain, drops]) => {
    const ofAll = drops.filter(({ way }) => !way.isOfSingle);
    const told = ofAll.length > 0 ? ofAll : drops;
    const isCertain = told.some((drop) => drop.isCertain);
    const counted = told.filter((drop) => drop.isCertain === isCertain);
    const rules = [...new Set(counted.map(({ rule }) => rule))];
    const [rule] = rules;
    const more = rules.length > 1 ? ` and ${rules.length - 1} more` : "";
    const family = chain.family === "ip" ? 4 : chain.family === "ip6" ? 6 : "both";
    return {
      family,
      chain: chainText(chain),
      hook: chain.hook ?? "forward",
      what: [...new Set(counted.map(({ way }) => way.what))].join(", "),
      by: rule === undefined ? "policy DROP" : `rule "${rule}"${more}`,
      cure: cureFor(chain, rule, counted[0]?.way, context),
      isCertain,
      isOfSingle: ofAll.length === 0,
    };
  });
}

/** iptables' tables by its own name, since that is where their rules are written. */
function chainText(chain: HookChain): string {
  const program = iptablesProgram(chain);
  if (program === undefined) return `nft chain ${chain.family} ${chain.table} ${chain.name}`;
  return `${program} ${chain.table === "filter" ? "" : `-t ${chain.table} `}${chain.name}`;
}

function iptablesProgram({ family, table, name, isLegacy }: HookChain): string | undefined {
  if (family !== "ip" && family !== "ip6") return undefined;
  if (!["filter", "raw", "mangle", "security"].includes(table) || name !== name.toUpperCase()) return undefined;
  return `${family === "ip" ? "iptables" : "ip6tables"}-${isLegacy ? "legacy" : "nft"}`;
}

function cureFor(chain: HookChain, rule: string | undefined, way: TestWay | undefined, context: ScanContext): string {
  const { family, table, name, hook } = chain;
  const port = way?.packet.destinationPort;
  if (table === "firewalld") {
    const zone = port === undefined ? "--zone=trusted --add-source=NETWORK" : `--add-port=${port}/udp`;
    return `firewall-cmd --permanent ${zone} && firewall-cmd --reload`;
  }
  const tunnel = context.tunnel[family === "ip6" ? 6 : 4];
  if (table === "raw" && hook === "prerouting" && rule?.includes("iifname !=") === true) {
    return `dockerd --allow-direct-routing # Docker 28.2 and newer; or for one network: docker network create -o com.docker.network.bridge.trusted_host_interfaces=${tunnel ?? "DEVICE"}`;
  }
  const program = iptablesProgram(chain);
  if (rule === undefined) {
    return program === undefined
      ? `nft 'chain ${family} ${table} ${name} { policy accept ; }'`
      : `${program} -P ${name} ACCEPT`;
  }
  const match = port === undefined ? "NETWORK" : String(port);
  if (program !== undefined) {
    const what = port === undefined ? `-s ${match} -j ACCEPT # and -d` : `-p udp --dport ${match} -j ACCEPT`;
    return `${program} ${table === "filter" ? "" : `-t ${table} `}-I ${name} ${what}`;
  }
  const ip = family === "ip6" ? "ip6" : "ip";
  const what = port === undefined ? `${ip} saddr ${match} accept # and daddr` : `udp dport ${match} accept`;
  return `nft insert rule ${family} ${table} ${name} ${what}`;
}
