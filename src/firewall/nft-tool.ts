// The nft program of this host, and what it and the kernel can do together.
import { FlannelError } from "../errors.ts";
import { runTool, tryTool } from "../sys/run-tool.ts";
import { isAtLeast, readVersion } from "./version.ts";

export interface NftTool {
  readonly path: string;
  readonly canComment: boolean;
  /** Whether masquerading with fully random ports can be had. */
  readonly randomFully: boolean;
  /** Whether segment sizes can be clamped to the path MTU. */
  readonly canClampMss: boolean;
}

/** The first whose listings and scripts can be relied on; flannel asks for the same. */
const MIN_VERSION = [1, 0, 1] as const;

/** Without `willWrite` it is only good for looking and removing. Throws `TOOL_MISSING` when it is too old, `FIREWALL_REJECTED` when it cannot work here. */
export async function inspectNft(path: string, willWrite: boolean): Promise<NftTool> {
  const [version] = await Promise.all([runTool(path, ["--version"]), runTool(path, ["-j", "list", "tables"])]);
  if (!isRecent(version)) {
    throw new FlannelError("TOOL_MISSING", `${path} is ${version.trim()}; traffic rules need nftables v1.0.1 or newer`);
  }
  if (!willWrite) return { path, canComment: false, randomFully: false, canClampMss: false };
  const [canComment, randomFully, canClampMss] = await Promise.all([
    probe(
      path,
      `add table ip flannel-probe { comment "probe" ; }`,
      `{ type nat hook postrouting priority 100 ; comment "probe" ; }`,
    ),
    probe(
      path,
      "add table ip flannel-probe",
      "{ type nat hook postrouting priority 100 ; }",
      "masquerade fully-random",
    ),
    probe(
      path,
      "add table ip flannel-probe",
      "{ type filter hook forward priority -150 ; }",
      "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu",
    ),
  ]);
  return { path, canComment, randomFully, canClampMss };
}

/** Whether the kernel would take it; changes nothing. */
async function probe(path: string, table: string, chain: string, rule?: string): Promise<boolean> {
  const lines = [table, `add chain ip flannel-probe probe ${chain}`];
  if (rule !== undefined) lines.push(`add rule ip flannel-probe probe ip saddr != 127.0.0.1 ${rule}`);
  const { exitCode } = await tryTool(path, ["--check", "-f", "-"], `${lines.join("\n")}\n`);
  return exitCode === 0;
}

function isRecent(text: string): boolean {
  return isAtLeast(readVersion(text), MIN_VERSION);
}
