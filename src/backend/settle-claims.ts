// Decides which peers may be served: a lease takes no addresses from this host, from another host, or from an older
// lease. Pure, one family at a time; every backend asks it, so there is one answer.
import {
  addressBits,
  type Family,
  familyOf,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../ip/address.ts";
import { containsAddress, networkOf, overlaps } from "../ip/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import type { ExternalInterface } from "../underlay/external-interface.ts";
import type { OccupiedPrefix } from "../underlay/occupied-prefixes.ts";
import { DisjointPrefixes } from "./disjoint-prefixes.ts";
import type { PeerReach, SkippedLease } from "./peer-reach.ts";

export interface ClaimContext {
  /** Of the network's configuration; every reach lies in it. */
  readonly network: Prefix;
  readonly ownSubnet: Prefix;
  readonly external: ExternalInterface;
  /** What this host uses for something else; of any family. */
  readonly occupied: readonly OccupiedPrefix[];
  /** All leases but our own, also those this backend does not serve: their hosts must stay reachable. */
  readonly leases: readonly Lease[];
}

export interface SettledClaims<Reach extends PeerReach> {
  /** In the order of the reaches. Their subnets overlap neither each other nor anything that is reserved. */
  readonly accepted: readonly Reach[];
  readonly skipped: readonly SkippedLease[];
}

/**
 * Refused is what overlaps our own subnet or an occupied prefix; what covers the address of a host with an older lease, or
 * announces an address inside the subnet of one; and what overlaps the subnet of an older lease. Older is what was
 * created first, then the lower key: all hosts decide alike. Two overlapping leases with one public IP are one host that
 * changed its key: the newer is served, as old as the older one, and nothing is reported.
 */
export function settleClaims<Reach extends PeerReach>(
  reaches: readonly Reach[],
  context: ClaimContext,
): SettledClaims<Reach> {
  const reserved = reservedPrefixes(context);
  const hosts = hostsInside(context);
  if (hosts.length === 0 && claimAll(reaches, reserved) !== undefined) return { accepted: reaches, skipped: [] };
  return new Settlement(reaches, reserved, hosts).settle();
}

/** Whether the host of one of the leases has its address inside the network. */
export function hasHostInside(leases: readonly Lease[], network: Prefix): boolean {
  return hostsInside({ leases, network }).length > 0;
}

/** Number of leases that appear in at least one of the lists; each list is in the order of `leases`. */
export function countLeases(leases: readonly Lease[], reached: readonly (readonly PeerReach[])[]): number {
  const [first = [], second = []] = reached;
  if (second.length === 0) return first.length;
  let [count, inFirst, inSecond] = [0, 0, 0];
  for (const lease of leases) {
    const isInFirst = first[inFirst]?.lease === lease;
    const isInSecond = second[inSecond]?.lease === lease;
    if (isInFirst) inFirst++;
    if (isInSecond) inSecond++;
    if (isInFirst || isInSecond) count++;
  }
  return count;
}

interface Reserved {
  readonly prefix: Prefix;
  /** For messages. */
  readonly owner: string;
  readonly conflict: "own-subnet" | "occupied";
}

/** In the order in which they are named where several apply. */
function reservedPrefixes({ ownSubnet, external, occupied }: ClaimContext): readonly Reserved[] {
  const family = familyOf(ownSubnet);
  const { address, ipv6Address, publicIp, publicIpv6 } = external;
  const own = [...new Set([address, ipv6Address, publicIp, publicIpv6])].filter((each) => each !== undefined);
  return [
    { prefix: ownSubnet, owner: `this host's own subnet ${ownSubnet}`, conflict: "own-subnet" as const },
    ...occupied.map(({ prefix, what }) => ({ prefix, owner: what, conflict: "occupied" as const })),
    ...own.map((each) => ({
      prefix: makePrefix(each, addressBits(familyOf(each))),
      owner: `this host's own address ${each}`,
      conflict: "occupied" as const,
    })),
  ].filter(({ prefix }) => familyOf(prefix) === family);
}

/** A host whose address lies inside the network, where a subnet may cover it. */
interface InsideHost {
  readonly lease: Lease;
  readonly address: Prefix;
}

/** Nearly always empty: hosts live outside of the containers' network. */
const insideHosts: Readonly<Record<Family, WeakMap<Lease, { readonly network: Prefix; readonly isInside: boolean }>>> =
  { 4: new WeakMap(), 6: new WeakMap() };

function hostsInside({ leases, network }: Pick<ClaimContext, "leases" | "network">): readonly InsideHost[] {
  const family = familyOf(network);
  const known = insideHosts[family];
  const hosts: InsideHost[] = [];
  for (const lease of leases) {
    const publicIp = family === 4 ? lease.attributes.publicIp : lease.attributes.publicIpv6;
    if (publicIp === undefined) continue;
    let entry = known.get(lease);
    if (entry?.network !== network) {
      entry = { network, isInside: containsAddress(network, publicIp) };
      known.set(lease, entry);
    }
    if (entry.isInside) hosts.push({ lease, address: makePrefix(publicIp, addressBits(family)) });
  }
  return hosts;
}

/** What the reaches and this host hold together; undefined when two of them overlap. */
export function claimedPrefixes(
  reaches: readonly PeerReach[],
  context: ClaimContext,
): DisjointPrefixes<unknown> | undefined {
  return claimAll(reaches, reservedPrefixes(context));
}

function claimAll(reaches: readonly PeerReach[], reserved: readonly Reserved[]): DisjointPrefixes<unknown> | undefined {
  const claims = new DisjointPrefixes<unknown>(lengthsOf(reaches, reserved));
  for (const { prefix } of widestFirst(reserved)) claims.claim(prefix, reserved);
  return reaches.every((reach) => claims.claim(reach.subnet, reach) === undefined) ? claims : undefined;
}

/** The order in which leases are heard. */
interface Claimant<Reach> {
  readonly lease: Lease;
  /** Of the lease, or of an earlier one of the same host. */
  seniority: Lease["createdAt"];
  readonly reach?: Reach;
  readonly address?: Prefix;
}

/** The exact decision, for when something overlaps. */
class Settlement<Reach extends PeerReach> {
  readonly #reaches: readonly Reach[];
  readonly #reserved: readonly Reserved[];
  readonly #hosts: readonly InsideHost[];
  readonly #lengths: ReadonlySet<number>;
  readonly #claims: DisjointPrefixes<Claimant<Reach>>;
  /** Of each length in use, the prefixes that cover a host's address. */
  readonly #aroundHosts = new Map<Prefix, Claimant<Reach>>();
  readonly #refused = new Map<Reach, SkippedLease | undefined>();

  constructor(reaches: readonly Reach[], reserved: readonly Reserved[], hosts: readonly InsideHost[]) {
    this.#reaches = reaches;
    this.#reserved = reserved;
    this.#hosts = hosts;
    this.#lengths = lengthsOf(reaches, []);
    this.#claims = new DisjointPrefixes(this.#lengths);
  }

  settle(): SettledClaims<Reach> {
    this.#refuseReserved();
    for (const claimant of this.#claimants().sort(compareSeniority)) this.#hear(claimant);
    const skipped = [...this.#refused.values()].filter((skip) => skip !== undefined);
    return { accepted: this.#reaches.filter((reach) => !this.#refused.has(reach)), skipped };
  }

  #refuseReserved(): void {
    const lengths = new Set([...this.#lengths, ...lengthsOf([], this.#reserved)]);
    const taken = new DisjointPrefixes<Reserved>(lengths);
    for (const entry of widestFirst(this.#reserved)) taken.claim(entry.prefix, entry);
    for (const reach of this.#reaches) {
      if (taken.holderOf(reach.subnet) === undefined) continue;
      const entry = this.#reserved.find(({ prefix }) => overlaps(prefix, reach.subnet));
      if (entry !== undefined) this.#refuse(reach, `overlaps ${entry.owner}`, entry.conflict);
    }
  }

  #claimants(): Claimant<Reach>[] {
    const addresses = new Map(this.#hosts.map(({ lease, address }) => [lease, address]));
    const claimants = this.#reaches.map((reach): Claimant<Reach> => {
      const { lease } = reach;
      const address = addresses.get(lease);
      addresses.delete(lease);
      const isRefused = this.#refused.has(reach);
      return {
        lease,
        seniority: lease.createdAt,
        ...(!isRefused && { reach }),
        ...(address !== undefined && { address }),
      };
    });
    for (const [lease, address] of addresses) claimants.push({ lease, seniority: lease.createdAt, address });
    return this.#withoutReplaced(claimants);
  }

  /** Of overlapping leases of one host the last made is what counts. */
  #withoutReplaced(claimants: readonly Claimant<Reach>[]): Claimant<Reach>[] {
    const byHost = Map.groupBy(claimants, ({ reach }) => reach?.publicIp);
    const replaced = new Set<Claimant<Reach>>();
    for (const [publicIp, ofOneHost] of byHost) {
      if (publicIp === undefined || ofOneHost.length < 2) continue;
      const claims = new DisjointPrefixes<Claimant<Reach>>(this.#lengths);
      for (const claimant of ofOneHost.sort(compareSeniority).reverse()) {
        if (claimant.reach === undefined) continue;
        const newer = claims.claim(claimant.reach.subnet, claimant);
        if (newer === undefined) continue;
        replaced.add(claimant);
        this.#refused.set(claimant.reach, undefined);
        if (newer.seniority.isAfter(claimant.seniority)) newer.seniority = claimant.seniority;
      }
    }
    return claimants.filter((claimant) => !replaced.has(claimant));
  }

  #hear(claimant: Claimant<Reach>): void {
    const { reach, address } = claimant;
    const around = address === undefined ? undefined : this.#claims.holderOf(address);
    if (around !== undefined) {
      if (reach === undefined) return;
      const where = `the subnet of the older lease ${around.lease.key}`;
      this.#refuse(reach, `is announced by ${reach.publicIp}, which lies inside ${where}`, "other-lease");
      return;
    }
    if (reach !== undefined) this.#claim(claimant, reach);
    if (address === undefined) return;
    for (const length of this.#lengths) {
      const prefix = networkOf(makePrefix(prefixAddress(address), length));
      if (!this.#aroundHosts.has(prefix)) this.#aroundHosts.set(prefix, claimant);
    }
  }

  #claim(claimant: Claimant<Reach>, reach: Reach): void {
    const covered = this.#aroundHosts.get(reach.subnet);
    if (covered?.address !== undefined) {
      const host = `${prefixAddress(covered.address)} of the host with the older lease ${covered.lease.key}`;
      this.#refuse(reach, `covers the address ${host}`, "other-lease");
      return;
    }
    const holder = this.#claims.claim(reach.subnet, claimant);
    if (holder === undefined) return;
    const owner = holder.reach === undefined ? "" : ` of host ${holder.reach.publicIp}`;
    this.#refuse(reach, `overlaps the older lease ${holder.lease.key}${owner}`, "other-lease");
  }

  #refuse(reach: Reach, why: string, conflict: NonNullable<SkippedLease["conflict"]>): void {
    this.#refused.set(reach, { key: reach.lease.key, reason: `subnet ${reach.subnet} ${why}`, conflict });
  }
}

function compareSeniority(a: Claimant<unknown>, b: Claimant<unknown>): number {
  if (a.seniority.isAfter(b.seniority)) return 1;
  if (b.seniority.isAfter(a.seniority)) return -1;
  return a.lease.key < b.lease.key ? -1 : Number(a.lease.key > b.lease.key);
}

/** So that a narrower one inside a wider one adds nothing. */
function widestFirst(reserved: readonly Reserved[]): readonly Reserved[] {
  return reserved.toSorted((a, b) => prefixLength(a.prefix) - prefixLength(b.prefix));
}

function lengthsOf(reaches: readonly PeerReach[], reserved: readonly Reserved[]): ReadonlySet<number> {
  const lengths = new Set<number>(reserved.map(({ prefix }) => prefixLength(prefix)));
  for (const { lengthBits } of reaches) lengths.add(lengthBits);
  return lengths;
}
