// Finds chains that drop forwarded packets by policy, by asking iptables and nft. A missing or failing tool means no
// finding: the check is advice, never a reason to stop.
import { execFile } from "node:child_process";
import type { ForwardDrop } from "./preflight.ts";

const TIMEOUT_MS = 2_000;
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

export async function forwardDrops(): Promise<ForwardDrop[]> {
  const [ipv4, ipv6, nft] = await Promise.all([
    outputOf("iptables", ["-w", "1", "-S", "FORWARD"]),
    outputOf("ip6tables", ["-w", "1", "-S", "FORWARD"]),
    outputOf("nft", ["-j", "list", "chains"]),
  ]);
  return [
    ...readIptablesPolicy("iptables", 4, ipv4),
    ...readIptablesPolicy("ip6tables", 6, ipv6),
    ...readNftChains(nft),
  ];
}

/** Empty when the tool is missing, fails or hangs. */
function outputOf(program: string, args: readonly string[]): Promise<string> {
  const options = { timeout: TIMEOUT_MS, killSignal: "SIGKILL", maxBuffer: MAX_OUTPUT_BYTES } as const;
  return new Promise((resolve) => {
    execFile(program, args, options, (error, stdout) => resolve(error === null ? stdout : ""));
  });
}

/** Reads `iptables -S FORWARD`, whose first line is the policy. */
export function readIptablesPolicy(program: "iptables" | "ip6tables", family: 4 | 6, text: string): ForwardDrop[] {
  if (!/^-P FORWARD DROP$/m.test(text)) return [];
  return [{ family, chain: `${program} FORWARD`, cure: `${program} -P FORWARD ACCEPT` }];
}

/** Reads `nft -j list chains`. Chains that iptables-nft made are left to `readIptablesPolicy`. */
export function readNftChains(text: string): ForwardDrop[] {
  const drops: ForwardDrop[] = [];
  for (const entry of nftEntries(text)) {
    const chain = field(entry, "chain");
    const [family, table, name] = ["family", "table", "name"].map((key) => String(field(chain, key)));
    if (field(chain, "hook") !== "forward" || field(chain, "policy") !== "drop") continue;
    if (family !== "ip" && family !== "ip6" && family !== "inet") continue;
    if (family !== "inet" && table === "filter" && name === "FORWARD") continue;
    drops.push({
      family: family === "inet" ? "both" : family === "ip" ? 4 : 6,
      chain: `nft chain ${family} ${table} ${name}`,
      cure: `nft 'chain ${family} ${table} ${name} { policy accept ; }'`,
    });
  }
  return drops;
}

function nftEntries(text: string): readonly unknown[] {
  try {
    const entries = field(JSON.parse(text), "nftables");
    return Array.isArray(entries) ? entries : [];
  } catch {
    return [];
  }
}

function field(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined;
}
