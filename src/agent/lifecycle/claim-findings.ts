// Tells of leases that are not served because of whose addresses they would take: as findings, as reasons of the state,
// and once in the log. Judged by the plan in force. Pure, but for the log.
import type { ClaimConflict, SkippedLease } from "../../backend/peer-reach.ts";
import type { Finding } from "../../doctor/finding.ts";
import { familyOf } from "../../ip/address.ts";
import { containsAddress, overlaps } from "../../ip/prefix.ts";
import { type Lease, type OwnLease, prefixesOf } from "../../lease/lease.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { OccupiedPrefix } from "../../underlay/occupied-prefixes.ts";

/** Of a flood of such leases the others are counted. */
const MAX_TOLD = 10;

const remedies: Readonly<Record<ClaimConflict, (key: string) => string>> = {
  "own-subnet": (key) => `flannelctl lease release --force '${key}' # if this host is to keep its subnet`,
  occupied: (key) => `flannelctl lease release --force '${key}' # its host leases another subnet`,
  "other-lease": (key) => `flannelctl lease release --force '${key}' # its host leases another subnet`,
};

/** Errors first. */
export function claimFindings(skipped: readonly SkippedLease[]): Finding[] {
  const claims = skipped.filter(({ conflict }) => conflict !== undefined);
  const worst = claims.toSorted((a, b) => severityRank(a) - severityRank(b));
  const findings = worst.slice(0, MAX_TOLD).map(findingOf);
  const [more] = worst.slice(MAX_TOLD);
  if (more === undefined) return findings;
  const evidence = `${worst.length - MAX_TOLD} more leases are not served because they overlap something else`;
  return [...findings, { ...findingOf(more), evidence, remedy: "flannelctl status # lists them as skipped" }];
}

/** What our own subnet takes that is not ours: an operator may have reserved it so, or the store moved into it. */
export function ownSubnetFindings(
  own: OwnLease | undefined,
  occupied: readonly OccupiedPrefix[],
  peers: readonly Lease[],
): Finding[] {
  if (own === undefined) return [];
  const covered = prefixesOf(own).flatMap((subnet) => [
    ...occupied.filter(({ prefix }) => overlaps(prefix, subnet)).map(({ what }) => `${subnet} overlaps ${what}`),
    ...peers.flatMap(({ key, attributes: { publicIp, publicIpv6 } }) => {
      const address = familyOf(subnet) === 4 ? publicIp : publicIpv6;
      if (address === undefined || !containsAddress(subnet, address)) return [];
      return [`${subnet} covers the address ${address} of the host with lease ${key}`];
    }),
  ]);
  return covered.slice(0, MAX_TOLD).map((what) => ({
    name: "lease-overlap",
    severity: "error",
    evidence: `this host's own subnet ${what}: packets for it would go to containers of this host`,
    remedy:
      `flannelctl lease release --force '${own.key}', then restart flanneld: it leases another subnet; ` +
      "re-create the containers of this host",
  }));
}

/** What other leases claim of our own subnet, a clause each. */
export function claimsOnOwnSubnet(skipped: readonly SkippedLease[]): string[] {
  return skipped
    .filter(({ conflict }) => conflict === "own-subnet")
    .map(({ key, reason }) => `lease ${key}: ${reason}`);
}

function severityRank({ conflict }: SkippedLease): number {
  return conflict === "own-subnet" ? 0 : 1;
}

function findingOf({ key, reason, conflict = "other-lease" }: SkippedLease): Finding {
  return {
    name: "lease-overlap",
    severity: conflict === "own-subnet" ? "error" : "warning",
    evidence: `lease ${key} is not served: ${reason}`,
    remedy: remedies[conflict](key),
  };
}

export class ClaimLog {
  readonly #logger: Logger;
  #logged: ReadonlySet<string> = new Set();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** To be called with every new plan. */
  follow(skipped: readonly SkippedLease[]): void {
    const claims = skipped.filter(({ conflict }) => conflict !== undefined);
    if (claims.length === 0 && this.#logged.size === 0) return;
    const fresh = claims.filter((claim) => !this.#logged.has(textOf(claim)));
    this.#logged = new Set(claims.map(textOf));
    for (const { key, reason } of fresh.slice(0, MAX_TOLD)) {
      this.#logger.warn("lease.not-served", `lease ${key} is not served: ${reason}`, { key });
    }
    const more = fresh.length - MAX_TOLD;
    if (more > 0) this.#logger.warn("lease.not-served", `${more} more leases are not served`, { count: more });
  }
}

function textOf({ key, reason }: SkippedLease): string {
  return `${key} ${reason}`;
}
