// The firewall in the box's own network namespace: modes, programs that note their calls, what the kernel holds.
import { appendFileSync, chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import type { Firewall } from "../../src/firewall/firewall.ts";
import type { ScanContext } from "../../src/firewall/hook-packets.ts";
import type { RuleInputs } from "../../src/firewall/plan-rules.ts";
import { parsePrefix } from "../../src/ip/address.ts";
import { NfTablesMonitor } from "../../src/netlink/nftables/nf-tables-monitor.ts";

export const networks = [parsePrefix("10.5.0.0/16"), parsePrefix("fd00:10::/48")] as const;
/** What the rules of other programs are tried with. */
export const scanned: ScanContext = {
  networks,
  ownSubnets: [parsePrefix("10.5.34.0/24"), parsePrefix("fd00:10:0:34::/64")],
  tunnel: { 4: "flannel.1", 6: "flannel-v6.1" },
  inside: "cni0",
};

export const inputs: RuleInputs = {
  families: [
    { network: networks[0], subnet: parsePrefix("10.5.34.0/24") },
    { network: networks[1], subnet: parsePrefix("fd00:10:0:34::/64") },
  ],
  masquerade: true,
  randomFully: true,
  forward: true,
  excludedPrefixes: [],
};

export type Mode = "nftables" | "iptables-nft" | "iptables-legacy";

const realPath = process.env["PATH"] ?? "";
const shims = "/run/shims";
const callLog = "/run/shims.log";

/** Puts programs first in PATH that note each call; plain `iptables` is the variant of the mode. */
export function preparePath(mode: Mode): void {
  rmSync(shims, { recursive: true, force: true });
  mkdirSync(shims);
  const plain = mode === "iptables-legacy" ? "legacy" : "nft";
  writeShim("nft", "nft");
  for (const tool of ["iptables", "ip6tables"]) {
    for (const suffix of ["", "-save", "-restore"]) {
      writeShim(`${tool}${suffix}`, `${tool}-${plain}${suffix}`);
      for (const variant of ["nft", "legacy"]) writeShim(`${tool}-${variant}${suffix}`, `${tool}-${variant}${suffix}`);
    }
  }
  process.env["PATH"] = `${shims}:${realPath}`;
}

function writeShim(name: string, target: string): void {
  const script = `#!/bin/sh\necho "${name} $*" >>${callLog}\nPATH=${realPath}:/usr/sbin:/sbin exec ${target} "$@"\n`;
  writeFileSync(`${shims}/${name}`, script);
  chmodSync(`${shims}/${name}`, 0o755);
}

/** Makes a program fail as one that this kernel or this machine has no use for. */
export function breakShim(name: string): void {
  writeFileSync(`${shims}/${name}`, "#!/bin/sh\necho 'not here' >&2\nexit 3\n");
  chmodSync(`${shims}/${name}`, 0o755);
}

/** What the firewall's programs were called with since the last time. */
export function takeCalls(): string[] {
  appendFileSync(callLog, "");
  const lines = readFileSync(callLog, "utf8").split("\n");
  rmSync(callLog);
  return lines.filter((line) => line !== "");
}

export async function emptyEverything(): Promise<void> {
  const env = { PATH: `${realPath}:/usr/sbin:/sbin` };
  await box.run(["nft", "flush", "ruleset"], { env });
  for (const tool of ["iptables-legacy", "ip6tables-legacy"]) {
    for (const table of ["nat", "filter"]) {
      await box.run([tool, "-t", table, "-F"], { env });
      await box.run([tool, "-t", table, "-X"], { env });
    }
    await box.run([tool, "-P", "FORWARD", "ACCEPT"], { env });
  }
}

/** Number of the last change to nf_tables in here. */
export function generation(): number | undefined {
  using monitor = new NfTablesMonitor();
  return monitor.generation();
}

/** All rules of a mode's place, ours and others', without counters. */
export async function listRules(mode: Mode): Promise<string[]> {
  if (mode === "nftables") return lines(await box.run(["nft", "-s", "list", "ruleset"]));
  const variant = mode.slice("iptables-".length);
  const texts = await Promise.all(["iptables", "ip6tables"].map((tool) => box.run([`${tool}-${variant}-save`])));
  return lines(texts.join("")).filter((line) => !line.startsWith("#"));
}

function lines(text: string): string[] {
  return text.split("\n").map((line) => line.trim());
}

/** Waits until the firewall, looking anew, finds all as wanted. */
export async function untilAgreed(firewall: Firewall): Promise<void> {
  const look = async () => {
    const { difference } = await firewall.listing();
    if (difference.length > 0) throw new Error(difference.join("\n"));
    return true;
  };
  await until(look, { what: "the rules to be as wanted" });
}
