// Which kernel features and programs this machine lacks. Each is tried for real, in a network namespace thrown away at
// once: lists of modules and versions say little about containers and hardened kernels.
import { CommandError, tryRun } from "./command.ts";

const probes = {
  netns: "ip netns list",
  veth: "ip link add dev t0 type veth peer name t1",
  bridge: "ip link add dev t0 type bridge",
  vxlan: "ip link add dev t0 type vxlan id 1 dstport 8472",
  tun: "ip tuntap add dev t0 mode tun",
  nexthop: "ip link set dev lo up && ip nexthop add id 1 dev lo",
  iptables: "iptables -t nat -A POSTROUTING -j MASQUERADE",
  ip6tables: "ip6tables -t nat -A POSTROUTING -j MASQUERADE",
  nftables: "nft add table ip t && nft add chain ip t c '{ type nat hook postrouting priority 100; }'",
  overlay:
    "mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w /mnt/r && mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w t /mnt/r",
  cgroup2: "mount -t cgroup2 t /mnt && mkdir /mnt/flannel-lab-$$ && rmdir /mnt/flannel-lab-$$",
  ipv6: "ip link set dev lo up && ip -6 addr add fd00::1/128 dev lo",
} as const;

export type Capability = keyof typeof probes;

export const allCapabilities = Object.keys(probes) as readonly Capability[];

export interface MissingCapability {
  readonly name: Capability;
  /** What the kernel or the program said. */
  readonly reason: string;
}

/** The wanted capabilities that this machine does not have. Needs root, changes nothing. */
export async function missingCapabilities(wanted: readonly Capability[]): Promise<readonly MissingCapability[]> {
  const missing: MissingCapability[] = [];
  for (const name of wanted) {
    const reason = await failureOf(probes[name]);
    if (reason !== undefined) missing.push({ name, reason });
  }
  return missing;
}

/** The programs that are not in PATH. */
export async function missingPrograms(wanted: readonly string[]): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const program of wanted) {
    const found = await tryRun(["sh", "-c", `command -v "$1"`, "sh", program]);
    if (found.exitCode !== 0) missing.push(program);
  }
  return missing;
}

async function failureOf(script: string): Promise<string | undefined> {
  try {
    const result = await tryRun(["unshare", "--net", "--mount", "sh", "-c", script]);
    return result.exitCode === 0 ? undefined : firstLine(result.stderr) || `exit code ${result.exitCode}`;
  } catch (error) {
    if (error instanceof CommandError) return firstLine(error.message);
    throw error;
  }
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}
