// Taking a lease. Never gives two hosts one subnet: keys are created and replaced only by compare-and-set, and a lease
// that overlaps an older one under another name is given back.

import { BackOff } from "../../async/back-off.ts";
import { cancelled } from "../../async/cancellation.ts";
import { type NetworkConfig, networksOf } from "../../config/network-config.ts";
import { FlannelError } from "../../errors.ts";
import { revisionNumber, storeLeaseIdOf } from "../../etcd-api/etcd-lease.ts";
import type { LeaseRecord } from "../../etcd-api/lease-record.ts";
import { addressBits, type Family, familyOf, makePrefix, type Prefix } from "../../ip/address.ts";
import { overlaps } from "../../ip/prefix.ts";
import { pickFreeSubnets, subnetsOverlap, usableSubnets } from "../../lease/allocator.ts";
import { type LeasedSubnets, type OwnLease, prefixesOf } from "../../lease/lease.ts";
import { formatLeaseKey } from "../../lease/lease-key.ts";
import { describeOwner, hasSamePublicIp, withLostFamily } from "../../lease/lease-owner.ts";
import type { AcquireOutcome, LeaseRequest, RememberedLease } from "../subnet-store.ts";
import { keepAsWritten } from "./keep-lease.ts";
import {
  describeSubnets,
  isNeverClaimed,
  isOverlappedByOlder,
  type LeaseDirectory,
  type LeaseSnapshot,
  readLeaseRecords,
  writeLease,
} from "./lease-directory.ts";
import { deleteIf, revokeStoreLease } from "./operations.ts";
import type { RangeSnapshot } from "./read-prefix.ts";
import { readWithoutLeader } from "./without-leader.ts";

export interface AcquiredLease {
  readonly lease: OwnLease;
  readonly outcome: AcquireOutcome;
}

/** All leases as they were before ours was written; what happened since then has a later revision. */
export interface AcquiredLeaseAndOthers extends AcquiredLease {
  readonly snapshot: LeaseSnapshot;
}

/** Upstream chooses among the first 100 free subnets; after each lost race we look at twice as many. */
const FIRST_CANDIDATES = 100;
const MAX_CANDIDATES = 6_400;
/** Lost races after which everything is read again. */
const LOSSES_PER_READ = 5;

/**
 * In order: a reservation that waits for our public IP, the remembered lease (by what the store knows it by, or by an
 * identity of ours), a lease with our public IP, the previous subnet, any free one. A public IP is a weak identity, which
 * may have moved here from another host: it counts only where we remember no lease that is still there.
 * Of a lease of ours the family that fits the configuration is kept, and moves to a new key; one of which nothing fits is
 * deleted. Lost races are retried for as long as it takes. Rejects with `POOL_EXHAUSTED` when nothing is free,
 * `LEASE_CONFLICT` when another host has what is `held`, `CANCELLED` by `signal`.
 */
export async function acquireLease(
  directory: LeaseDirectory,
  request: LeaseRequest,
  signal: AbortSignal,
): Promise<AcquiredLeaseAndOthers> {
  const backOff = new BackOff({ firstMs: 20, maxMs: 1_000 });
  for (;;) {
    const snapshot = await readWithoutLeader((isStale) => readLeaseRecords(directory, signal, isStale));
    refuseIfTaken(request, snapshot.items);
    const own = await takeOwn(directory, request, snapshot, signal);
    if (own !== "lostRace") {
      const acquired = own ?? (await createLease(directory, request, snapshot, backOff, signal));
      if (acquired !== undefined) return { ...acquired, snapshot };
    }
    await waitForTurn(backOff, signal);
  }
}

/** Undefined when we have none. Leases of ours of which nothing fits the configuration are deleted. */
async function takeOwn(
  directory: LeaseDirectory,
  request: LeaseRequest,
  snapshot: RangeSnapshot<LeaseRecord>,
  signal: AbortSignal,
): Promise<AcquiredLease | "lostRace" | undefined> {
  const own = ownRecords(snapshot.items, request);
  const fitting = own.filter((record) => fitOf(record, request) === "whole");
  const partly = own.filter((record) => fitOf(record, request) === "partly");
  const unfit = own.filter((record) => fitOf(record, request) === "not");
  const [chosen] = [...fitting, ...partly];
  const outcome =
    chosen?.lease && hasSamePublicIp(chosen.lease.attributes, request.attributes) ? "reused" : "remembered";
  try {
    if (!(await deleteAll(directory, unfit, signal))) return "lostRace";
    if (chosen === undefined) return undefined;
    const lease = fitting.includes(chosen)
      ? await writeLease(directory, rewriteOf(chosen, request), signal)
      : await moveLease(directory, request, chosen, snapshot, signal);
    return lease === undefined ? "lostRace" : { lease, outcome };
  } catch (error) {
    const lease = chosen && fitting.includes(chosen) && (await keepAsWritten(directory, chosen, error, signal));
    if (!lease) throw error;
    return { lease, outcome };
  }
}

function rewriteOf(record: LeaseRecord, request: LeaseRequest) {
  const { key, subnets = {}, lease, revision, createRevision, storeLeaseId } = record;
  const attributes = lease === undefined ? request.attributes : withLostFamily(request.attributes, lease);
  return { key, subnets, attributes, expectedRevision: revision, createRevision, isReservation: storeLeaseId === 0n };
}

/** Those of this host, the preferred one first. */
function ownRecords(records: readonly LeaseRecord[], request: LeaseRequest): readonly LeaseRecord[] {
  const remembered = records.filter((record) => isRemembered(record, request.remembered));
  const byAddress = records.filter(({ lease }) => lease && hasSamePublicIp(lease.attributes, request.attributes));
  const isReserved = (record: LeaseRecord) => record.storeLeaseId === 0n;
  // An operator may have reserved another subnet for us since.
  const waiting = byAddress.filter((record) => isReserved(record) && isNeverClaimed(record));
  const known = remembered.length > 0 ? [...waiting, ...remembered] : byAddress;
  return [...new Set(known)].sort((a, b) => Number(isReserved(b)) - Number(isReserved(a)));
}

/** Whether a lease fits the configuration and the families of this host, in one family of two, or not at all. */
function fitOf({ subnets }: LeaseRecord, { config, families }: LeaseRequest): "whole" | "partly" | "not" {
  if (subnets === undefined) return "not";
  const usable = usableSubnets(subnets, config);
  if (usable.subnet === undefined && usable.ipv6Subnet === undefined) return "not";
  const isServed = (family: Family, pool: unknown) => pool !== undefined && families?.has(family) !== false;
  const isWhole =
    usable.subnet === subnets.subnet &&
    usable.ipv6Subnet === subnets.ipv6Subnet &&
    (usable.subnet !== undefined || !isServed(4, config.ipv4)) &&
    (usable.ipv6Subnet !== undefined || !isServed(6, config.ipv6));
  return isWhole ? "whole" : "partly";
}

/** The families of which a subnet is leased: those enabled that this host serves. */
function servedPools({ config, families }: LeaseRequest): Pick<NetworkConfig, "ipv4" | "ipv6"> {
  return {
    ...(config.ipv4 !== undefined && families?.has(4) !== false && { ipv4: config.ipv4 }),
    ...(config.ipv6 !== undefined && families?.has(6) !== false && { ipv6: config.ipv6 }),
  };
}

/** Gives our lease another key, with the subnet that fits and one of the family it lacks. Undefined after a lost race. */
async function moveLease(
  directory: LeaseDirectory,
  request: LeaseRequest,
  record: LeaseRecord,
  { items, revision: listRevision }: RangeSnapshot<LeaseRecord>,
  signal: AbortSignal,
): Promise<OwnLease | undefined> {
  const taken = items.filter(({ key }) => key !== record.key).flatMap(({ subnets }) => subnets ?? []);
  const kept = usableSubnets(record.subnets ?? {}, request.config);
  const avoid = prefixesToAvoid(request, items);
  let from: { readonly key: string; readonly revision: bigint } = record;
  for (let losses = 0; ; losses++) {
    const candidates = Math.min(FIRST_CANDIDATES * 2 ** losses, MAX_CANDIDATES);
    const subnets = pickFreeSubnets(servedPools(request), taken, directory.random, { candidates, avoid, kept });
    if (subnets === undefined) throw exhausted(request, items.length, avoid.length);
    const key = formatLeaseKey(subnets);
    const { createRevision: _, ...rewritten } = rewriteOf(record, request);
    const write = { ...rewritten, key, subnets, expectedRevision: 0n, movedFrom: from };
    const lease = await writeLease(directory, write, signal);
    if (lease === undefined || !(await isOverlappedByOlder(directory, lease, listRevision, signal))) return lease;
    // Another host took a part of what we picked at the same moment, and was first.
    taken.push(subnets);
    from = { key, revision: revisionNumber(lease.revision) };
  }
}

/** The same etcd lease, or an identity of ours: nobody else can have either. */
function isRemembered({ key, storeLeaseId, lease }: LeaseRecord, remembered: RememberedLease | undefined): boolean {
  if (remembered === undefined || lease === undefined || key !== remembered.key) return false;
  const isSameStoreLease = remembered.adapterData !== undefined && storeLeaseId === storeLeaseIdOf(remembered);
  if (storeLeaseId !== 0n && isSameStoreLease) return true;
  return remembered.matches(lease.attributes);
}

/** False when one of them was written meanwhile. */
async function deleteAll(
  { connection, keys }: LeaseDirectory,
  records: readonly LeaseRecord[],
  signal: AbortSignal,
): Promise<boolean> {
  for (const { key, revision } of records) {
    const operation = `delete this host's lease ${key}, which does not fit the network config`;
    const write = { key: keys.directory + key, expectedRevision: revision, operation };
    const outcome = await deleteIf(connection, write, signal);
    if (!outcome.isDone && outcome.current !== undefined) return false;
  }
  return true;
}

/** Who lost the subnet that it held looks who has it. */
function lossesPerRead({ held }: LeaseRequest, hasPrevious: boolean): number {
  return held !== undefined && hasPrevious ? 1 : LOSSES_PER_READ;
}

/** Undefined after several lost races: everything should be read again. */
async function createLease(
  directory: LeaseDirectory,
  request: LeaseRequest,
  { items, revision }: RangeSnapshot<LeaseRecord>,
  backOff: BackOff,
  signal: AbortSignal,
): Promise<AcquiredLease | undefined> {
  const taken = takenSubnets(items, request);
  const takenWhenRead = taken.length;
  const avoid = prefixesToAvoid(request, items);
  const previous = usablePrevious(request, taken, avoid);
  const hasPrevious = (previous.subnet ?? previous.ipv6Subnet) !== undefined;
  for (let losses = 0; losses < lossesPerRead(request, hasPrevious); losses++) {
    const candidates = Math.min(FIRST_CANDIDATES * 2 ** losses, MAX_CANDIDATES);
    const usePrevious = losses === 0 && hasPrevious;
    const options = { candidates, avoid, kept: usePrevious ? previous : {} };
    const subnets = pickFreeSubnets(servedPools(request), taken, directory.random, options);
    if (subnets === undefined) {
      // What we lost meanwhile may have been given back.
      if (taken.length > takenWhenRead) return undefined;
      throw exhausted(request, items.length, avoid.length);
    }
    const lease = await createKey(directory, request, subnets, revision, signal);
    if (lease !== undefined) return { lease, outcome: usePrevious ? "previous" : "allocated" };
    taken.push(subnets);
    await waitForTurn(backOff, signal);
  }
  return undefined;
}

async function createKey(
  directory: LeaseDirectory,
  { attributes }: LeaseRequest,
  subnets: LeasedSubnets,
  listRevision: bigint,
  signal: AbortSignal,
): Promise<OwnLease | undefined> {
  const key = formatLeaseKey(subnets);
  const write = { key, subnets, attributes, expectedRevision: 0n, isReservation: false };
  const lease = await writeLease(directory, write, signal);
  if (lease === undefined) return undefined;
  let isOurs = false;
  try {
    isOurs = !(await isOverlappedByOlder(directory, lease, listRevision, signal));
  } finally {
    // Takes the key away with it.
    if (!isOurs) await revokeStoreLease(directory.connection, storeLeaseIdOf(lease));
  }
  return isOurs ? lease : undefined;
}

/** Keys whose value is garbage still hold their subnet; our own unfit leases were deleted just before. */
function takenSubnets(records: readonly LeaseRecord[], request: LeaseRequest): LeasedSubnets[] {
  const own = new Set(ownRecords(records, request));
  return records.filter((record) => !own.has(record)).flatMap(({ subnets }) => subnets ?? []);
}

/** Who has what we held decides, in whatever way it came about: our containers are on it, so we cannot go on with another. */
function refuseIfTaken(request: LeaseRequest, records: readonly LeaseRecord[]): void {
  const { held, attributes } = request;
  if (held === undefined) return;
  const own = new Set(ownRecords(records, request));
  const holder = records.find(
    (record) => record.subnets !== undefined && subnetsOverlap(record.subnets, held) && !own.has(record),
  );
  if (holder === undefined) return;
  const owner = holder.lease === undefined ? "an unknown host" : describeOwner(holder.lease.attributes);
  const message =
    `${describeSubnets(held)} of this host, ${describeOwner(attributes)}, belongs to ${owner} now ` +
    `(lease ${holder.key}): a restart of the agent leases another subnet`;
  throw new FlannelError("LEASE_CONFLICT", message, { details: { key: holder.key, sharesPublicIp: false } });
}

/** Inside the networks: what this host uses, and the addresses of all hosts, since a subnet over one takes the way to it. */
function prefixesToAvoid({ config, avoid = [] }: LeaseRequest, records: readonly LeaseRecord[]): readonly Prefix[] {
  const networks = networksOf(config);
  const hosts = records
    .flatMap(({ lease }) => [lease?.attributes.publicIp, lease?.attributes.publicIpv6])
    .filter((address) => address !== undefined)
    .map((address) => makePrefix(address, addressBits(familyOf(address))));
  return [...avoid, ...hosts].filter((prefix) => networks.some((network) => overlaps(network, prefix)));
}

/** What of the previous subnets fits the configuration and is free. */
function usablePrevious(
  { previous = {}, config }: LeaseRequest,
  taken: readonly LeasedSubnets[],
  avoid: readonly Prefix[],
): LeasedSubnets {
  const { subnet, ipv6Subnet } = usableSubnets(previous, config);
  const isFree = (subnets: LeasedSubnets) => {
    const parts = prefixesOf(subnets);
    const isInUse = avoid.some((prefix) => parts.some((part) => overlaps(part, prefix)));
    return !isInUse && !taken.some((other) => subnetsOverlap(other, subnets));
  };
  return {
    ...(subnet !== undefined && isFree({ subnet }) && { subnet }),
    ...(ipv6Subnet !== undefined && isFree({ ipv6Subnet }) && { ipv6Subnet }),
  };
}

function exhausted({ config }: LeaseRequest, leases: number, avoided: number): FlannelError {
  const pools = [config.ipv4, config.ipv6]
    .filter((pool) => pool !== undefined)
    .map((pool) => `/${pool.subnetLength} in ${pool.network} (${pool.subnetMin} to ${pool.subnetMax})`);
  const besides = avoided === 0 ? "" : ", besides what hosts and the store use themselves";
  const message = `no free subnet: ${leases} leases hold all ${pools.join(" or ")}${besides}; revoke one or enlarge Network`;
  return new FlannelError("POOL_EXHAUSTED", message, { retryable: true, details: { leases } });
}

async function waitForTurn(backOff: BackOff, signal: AbortSignal): Promise<void> {
  try {
    await backOff.wait(signal);
  } catch {
    throw cancelled("acquire a lease");
  }
}
