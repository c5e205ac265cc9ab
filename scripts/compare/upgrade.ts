// `upgrade`: agents of the base are replaced by agents of this checkout and back, in a box for each scenario. One after the
// other: packets that wait for a processor would look lost.
import type { Builds } from "./build.ts";
import { runInBox } from "./in-box.ts";
import { selectPlans } from "./options.ts";

export interface UpgradePlan {
  readonly name: string;
  /** How agents are started and where leases are kept: by hand on etcd, or by `flannelctl init` and `join`. */
  readonly kind: "etcd" | "systemd";
  readonly config: Readonly<Record<string, unknown>>;
}

export interface UpgradeTask {
  readonly builds: Builds;
  readonly plan: UpgradePlan;
}

const Network = "10.5.0.0/16";

const plans: readonly UpgradePlan[] = [
  { name: "etcd-vxlan", kind: "etcd", config: { Network, Backend: { Type: "vxlan" } } },
  { name: "etcd-host-gw", kind: "etcd", config: { Network, EnableNFTables: true, Backend: { Type: "host-gw" } } },
  { name: "etcd-wireguard", kind: "etcd", config: { Network, Backend: { Type: "wireguard" } } },
  { name: "systemd-udp", kind: "systemd", config: { Network, Backend: { Type: "udp" } } },
  { name: "systemd-vxlan", kind: "systemd", config: { Network, Backend: { Type: "vxlan" } } },
  { name: "systemd-wireguard", kind: "systemd", config: { Network, Backend: { Type: "wireguard" } } },
];

/** True: nothing was lost in any scenario. Prints a table for each. */
export async function compareUpgrade(builds: Builds, only: readonly string[]): Promise<boolean> {
  let isGood = true;
  for (const plan of selectPlans(plans, only)) {
    const task: UpgradeTask = { builds, plan };
    if ((await runInBox(new URL("upgrade-inside.ts", import.meta.url), task)) !== 0) isGood = false;
  }
  return isGood;
}
