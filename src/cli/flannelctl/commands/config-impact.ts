// What a new network configuration means for the hosts that have leases, told before it is written. Pure.
import type { ConfigWarning, NetworkConfig } from "../../../config/network-config.ts";
import { usableSubnets } from "../../../lease/allocator.ts";
import type { Lease } from "../../../lease/lease.ts";
import { count } from "../../../terminal/text.ts";

const families = [
  { family: "IPv4", pool: "ipv4", half: "subnet", network: "Network", enable: "EnableIPv4" },
  { family: "IPv6", pool: "ipv6", half: "ipv6Subnet", network: "IPv6Network", enable: "EnableIPv6" },
] as const;

/** A warning for each family whose subnets change on hosts when their agents restart; none when all keep what they have. */
export function configImpact(config: NetworkConfig, leases: readonly Lease[]): ConfigWarning[] {
  return families.flatMap(({ family, pool, half, network, enable }) => {
    const isEnabled = config[pool] !== undefined;
    const having = leases.filter((lease) => lease[half] !== undefined);
    const losing = having.filter((lease) => usableSubnets(lease, config)[half] === undefined);
    const warnings: ConfigWarning[] = [];
    if (isEnabled && losing.length > 0) {
      const message = `${hosts(losing)} ${losing.length === 1 ? "gets" : "get"} another ${family} subnet when the agent restarts: re-create the containers there`;
      warnings.push({ path: network, message });
    }
    if (!isEnabled && losing.length > 0) {
      const message = `${hosts(losing)} ${losing.length === 1 ? "loses its" : "lose their"} ${family} subnet when the agent restarts`;
      warnings.push({ path: enable, message });
    }
    const gaining = leases.filter((lease) => lease[half] === undefined);
    if (isEnabled && gaining.length > 0) warnings.push({ path: enable, message: gainText(gaining, family) });
    return warnings;
  });
}

function gainText(gaining: readonly Lease[], family: "IPv4" | "IPv6"): string {
  const other = family === "IPv6" ? "IPv4" : "IPv6";
  return (
    `${hosts(gaining)} ${gaining.length === 1 ? "gets" : "get"} an ${family} subnet when the agent restarts and ` +
    `${gaining.length === 1 ? "keeps its" : "keep their"} ${other} subnet; one without an ${family} address serves ${other} alone, ` +
    `and one with upstream's flannel gets another ${other} subnet, too: re-create the containers there`
  );
}

function hosts(leases: readonly Lease[]): string {
  return count(leases.length, "host");
}
