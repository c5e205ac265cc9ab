// The leases of the network: who has what, whether there is room, and whether hosts fit together.
import type { LeaseFact } from "../agent-facts.ts";
import { carriesTraffic, defineCheck } from "../check.ts";

const MAX_TOLD = 5;
const FEW_SUBNETS = 3;
const FEW_SHARE = 0.05;
/** REJECT_AFTER_TIME of WireGuard: a session is dead by then. */
const HANDSHAKE_DEAD_MS = 180_000;

/** Reservations that no host took over announce an address, too, and nothing else. */
function isUnclaimed({ isReservation, backendType, announcedMac, announcedMacV6 }: LeaseFact): boolean {
  return isReservation && backendType === undefined && announcedMac === undefined && announcedMacV6 === undefined;
}

export const duplicateAddress = defineCheck({
  name: "lease-duplicate-ip",
  severity: "error",
  needs: ["agent"],
  check: (_context, { agent: { leases } }) => {
    const byAddress = new Map<string, LeaseFact[]>();
    for (const lease of leases) {
      if (isUnclaimed(lease)) continue;
      for (const address of [lease.publicIp, lease.publicIpv6]) {
        if (address === undefined) continue;
        byAddress.set(address, [...(byAddress.get(address) ?? []), lease]);
      }
    }
    return [...byAddress]
      .filter(([, sharing]) => sharing.length > 1 && !isOneHost(sharing))
      .slice(0, MAX_TOLD)
      .map(([address, sharing]) => ({ address, keys: sharing.map(({ key }) => key) }));
  },
  evidence: ({ address, keys }) => `the leases ${keys.join(" and ")} both announce the public IP ${address}`,
  remedy: ({ keys }) =>
    "give one of the two hosts another address with --iface or --public-ip; if one of them is gone, " +
    `flannelctl lease release --force '${keys.at(-1)}'`,
});

/** What is left of an earlier lease of the same host has the same MAC. */
function isOneHost(sharing: readonly LeaseFact[]): boolean {
  const [first] = sharing;
  const mac = first?.announcedMac ?? first?.announcedMacV6;
  return mac !== undefined && sharing.every((lease) => (lease.announcedMac ?? lease.announcedMacV6) === mac);
}

export const leaseLost = defineCheck({
  name: "lease-lost",
  severity: "error",
  needs: ["agent", "store"],
  check: (_context, { agent: { own, leaseProblem }, store: { takenBy, isLeaseGone } }) => {
    if (takenBy !== undefined) return [`the lease ${own?.key} of this host belongs to ${takenBy} in the store`];
    if (isLeaseGone === true) return [`the store has no lease ${own?.key} any more, which this host uses`];
    return leaseProblem === undefined ? [] : [leaseProblem];
  },
  evidence: (what) => what,
  remedy: () =>
    "flannelctl lease list # if another host has the subnet, stop one of the two; else restart flanneld, which acquires another lease",
});

export const poolEmpty = defineCheck({
  name: "lease-pool-empty",
  needs: ["agent", "store"],
  check: (_context, { agent: { leases, poolSize: known }, store: { pool } }) => {
    const [poolSize, used] = pool === undefined ? [known, leases.length] : [pool.size, pool.used];
    if (poolSize === undefined || used === 0) return [];
    const free = Math.max(0, poolSize - used);
    // A small network that is as large as its hosts are many was meant so, until another host comes.
    return free < FEW_SUBNETS && free <= Math.max(poolSize * FEW_SHARE, 0) ? [{ free, poolSize }] : [];
  },
  severity: ({ free }) => (free === 0 ? "error" : "warning"),
  evidence: ({ free, poolSize }) => `${free} of ${poolSize} subnets of the network are free`,
  remedy: () =>
    "flannelctl lease list, then flannelctl lease release KEY for hosts that are gone; or a larger Network: flannelctl config set",
});

/** Of tunnels that cannot be mixed; vxlan and host-gw can, on one link, and the agent reports skipped peers. */
export const mixedVersion = defineCheck({
  name: "mixed-version",
  severity: "warning",
  needs: ["agent"],
  appliesTo: carriesTraffic,
  check: (_context, { agent: { leases, own } }) => {
    const others = leases.filter((lease) => lease.key !== own?.key && !isUnclaimed(lease));
    if (own === undefined || others.length === 0) return [];
    const of = (what: string, odd: readonly LeaseFact[]) =>
      odd.length === 0
        ? []
        : [`${odd.length} of ${others.length} other leases ${what} (${odd[0]?.key}${odd.length > 1 ? ", …" : ""})`];
    const ownType = own.backendType;
    const isForeign = ({ backendType }: LeaseFact): boolean =>
      backendType !== ownType && !(isMixable(backendType) && isMixable(ownType));
    return [
      ...of(`have another backend than this host's ${ownType ?? "udp"}`, others.filter(isForeign)),
      ...of(
        `have another VNI than this host's ${own.vni}`,
        others.filter(({ vni }) => vni !== undefined && own.vni !== undefined && vni !== own.vni),
      ),
      ...of(
        "lack a subnet of a family that this host has",
        others.filter((lease) => (own.subnet !== undefined) !== (lease.subnet !== undefined)),
      ),
      ...of(
        "lack IPv6, which this host has",
        others.filter((lease) => own.ipv6Subnet !== undefined && lease.ipv6Subnet === undefined),
      ),
    ];
  },
  evidence: (what) => what,
  remedy: () =>
    "flannelctl lease list # finish the roll-out on those hosts: the same configuration and version everywhere",
});

function isMixable(type: string | undefined): boolean {
  return type === "vxlan" || type === "host-gw";
}

export const handshake = defineCheck({
  name: "wg-handshake",
  severity: "error",
  needs: ["agent"],
  check: (_context, { agent: { own, dataPlanePeers } }) => {
    if (own?.backendType !== "wireguard") return [];
    return dataPlanePeers.filter(({ sentBytes = 0, lastHandshakeAt }) => {
      // Without traffic there is no handshake.
      if (sentBytes === 0) return false;
      return lastHandshakeAt === undefined || Date.now() - Date.parse(lastHandshakeAt) > 3 * HANDSHAKE_DEAD_MS;
    });
  },
  evidence: ({ key, lastHandshakeAt, sentBytes = 0, receivedBytes = 0 }) =>
    `${lastHandshakeAt === undefined ? "no handshake ever" : `the last handshake at ${lastHandshakeAt}`} with the peer ${key}, ` +
    `${sentBytes} bytes sent, ${receivedBytes} received`,
  remedy: ({ key }) =>
    `flannelctl lease show '${key}' # compare its public key with that of the host; let UDP pass to its port; set the clocks of both`,
});
