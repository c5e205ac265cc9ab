// Rules of iptables that are judged by how they are written: what changes the source of packets between containers, and what drops the
// message of path MTU discovery. Of both variants, as far as they are there; what is unknown is left out.
import { existsSync } from "node:fs";
import { type Prefix, tryParsePrefix } from "../../ip/address.ts";
import { containsPrefix } from "../../ip/prefix.ts";
import { findTool, tryTool } from "../../sys/run-tool.ts";

const MAX_TEXT = 4 * 1024 * 1024;

/** By table: lines of `-A CHAIN …`, of IPv4. */
export type SavedRules = ReadonlyMap<string, readonly string[]>;

/** Empty where this host has no iptables. Throws what a tool says. */
export async function saveIptables(limitMs: number): Promise<readonly SavedRules[]> {
  const programs = [
    "iptables-nft-save",
    // To list tables of the other kind would make them.
    ...(existsSync("/proc/net/ip_tables_names") ? ["iptables-legacy-save"] : []),
  ];
  const found = programs.map((name) => findTool(name)).filter((path) => path !== undefined);
  const plain = findTool("iptables-save");
  const tools = found.length > 0 || plain === undefined ? found : [plain];
  const texts = await Promise.all(tools.map((path) => tryTool(path, [], "", limitMs)));
  return texts.map(({ stdout }) => rulesByTable(stdout.slice(0, MAX_TEXT)));
}

function rulesByTable(text: string): SavedRules {
  const tables = new Map<string, string[]>();
  let current: string[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) {
      current = [];
      tables.set(line.slice(1), current);
    } else if (line.startsWith("-A ")) current.push(line);
  }
  return tables;
}

/** Options that narrow a rule to what is not every packet between containers; of these nothing is said. */
const narrowing = /(^| )(-i|-o|-m (?!comment)|-p|--physdev|! )/;

/**
 * Rules in nat POSTROUTING, before the jump to flannel's, that give packets from and to `network` another source. Those in chains
 * of others are not followed. Pure.
 */
export function masqueradesOf(saved: SavedRules, networks: readonly Prefix[]): string[] {
  const found: string[] = [];
  for (const line of saved.get("nat") ?? []) {
    const [, chain] = line.split(" ");
    if (chain !== "POSTROUTING") continue;
    if (/ -j FLANNEL-/.test(line)) break;
    if (!/ -j (MASQUERADE|SNAT)\b/.test(line)) continue;
    const matches = line
      .slice("-A POSTROUTING".length)
      .replace(/ -j .*$/, "")
      .replaceAll(/-m comment --comment ("[^"]*"|\S+)/g, "");
    const [source, destination] = ["-s", "-d"].map(
      (option) => new RegExp(`(?:^| )${option} (\\S+)`).exec(matches)?.[1],
    );
    if (narrowing.test(matches) || !coversAny(source, networks) || !coversAny(destination, networks)) continue;
    found.push(line);
  }
  return found;
}

function coversAny(text: string | undefined, networks: readonly Prefix[]): boolean {
  if (text === undefined) return true;
  const prefix = tryParsePrefix(text.includes("/") ? text : `${text}/32`);
  return prefix !== undefined && networks.some((network) => containsPrefix(prefix, network));
}

/** Rules that drop ICMP "fragmentation needed". Pure. */
export function tooBigDropsOf(saved: SavedRules): string[] {
  return ["raw", "mangle", "filter"].flatMap((table) =>
    (saved.get(table) ?? []).filter(
      (line) =>
        /--icmp-type (3\/4|3|fragmentation-needed|destination-unreachable)\b/.test(line) &&
        / -j (DROP|REJECT)\b/.test(line),
    ),
  );
}
