// Taking a lease. Never gives two hosts one subnet: keys are created and replaced only by compare-and-set, and a lease
// that overlaps an older one under another name is given back.

import { BackOff } from "../../async/back-off.ts";
import { cancelled } from "../../async/cancellation.ts";
import { FlannelError } from "../../errors.ts";
import { storeLeaseIdOf } from "../../etcd-api/etcd-lease.ts";
import type { LeaseRecord } from "../../etcd-api/lease-record.ts";
import { incompatibility, pickFreeSubnets, subnetsOverlap } from "../../lease/allocator.ts";
import type { LeasedSubnets, OwnLease } from "../../lease/lease.ts";
import { formatLeaseKey } from "../../lease/lease-key.ts";
import { hasSamePublicIp } from "../../lease/lease-owner.ts";
import type { AcquireOutcome, LeaseRequest, RememberedLease } from "../subnet-store.ts";
import {
  isOverlappedByOlder,
  type LeaseDirectory,
  type LeaseSnapshot,
  readLeaseRecords,
  writeLease,
} from "./lease-directory.ts";
import { deleteIf, revokeStoreLease } from "./operations.ts";
import type { RangeSnapshot } from "./read-prefix.ts";

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
 * In order: our own lease by public IP, the remembered one (the address changed while we were away), the previous
 * subnet, any free one. A lease of ours that no longer fits the configuration is deleted. Lost races are retried for as
 * long as it takes. Rejects with `POOL_EXHAUSTED` when nothing is free, `CANCELLED` by `signal`.
 */
export async function acquireLease(
  directory: LeaseDirectory,
  request: LeaseRequest,
  signal: AbortSignal,
): Promise<AcquiredLeaseAndOthers> {
  const backOff = new BackOff({ firstMs: 20, maxMs: 1_000 });
  for (;;) {
    const snapshot = await readLeaseRecords(directory, signal);
    const own = await takeOwn(directory, request, snapshot.items, signal);
    if (own !== "lostRace") {
      const acquired = own ?? (await createLease(directory, request, snapshot, backOff, signal));
      if (acquired !== undefined) return { ...acquired, snapshot };
    }
    await waitForTurn(backOff, signal);
  }
}

/** Undefined when we have none. Leases of ours that do not fit the configuration are deleted. */
async function takeOwn(
  directory: LeaseDirectory,
  request: LeaseRequest,
  records: readonly LeaseRecord[],
  signal: AbortSignal,
): Promise<AcquiredLease | "lostRace" | undefined> {
  const byAddress = records.filter(({ lease }) => lease && hasSamePublicIp(lease.attributes, request.attributes));
  const byMemory = records.filter((record) => isRemembered(record, request.remembered));
  const own = [...new Set([...byAddress, ...byMemory])];
  const fitting = own.filter(({ subnets }) => subnets && incompatibility(subnets, request.config) === undefined);
  const unfit = own.filter((record) => !fitting.includes(record));
  if (!(await deleteAll(directory, unfit, signal))) return "lostRace";
  const chosen = preferred(fitting, byAddress);
  if (chosen === undefined) return undefined;
  const { key, subnets = {}, revision, storeLeaseId } = chosen;
  const isReservation = storeLeaseId === 0n;
  const write = { key, subnets, attributes: request.attributes, expectedRevision: revision, isReservation };
  const lease = await writeLease(directory, write, signal);
  if (lease === undefined) return "lostRace";
  return { lease, outcome: byAddress.includes(chosen) ? "reused" : "remembered" };
}

/** By address before by memory, and a reservation before a lease that would expire. */
function preferred(fitting: readonly LeaseRecord[], byAddress: readonly LeaseRecord[]): LeaseRecord | undefined {
  const known = fitting.filter((record) => byAddress.includes(record));
  const choice = known.length > 0 ? known : fitting;
  return choice.find(({ storeLeaseId }) => storeLeaseId === 0n) ?? choice[0];
}

/** The same etcd lease, or an identity of ours: nobody else can have either. */
function isRemembered({ key, storeLeaseId, lease }: LeaseRecord, remembered: RememberedLease | undefined): boolean {
  if (remembered === undefined || lease === undefined || key !== remembered.key) return false;
  if (storeLeaseId !== 0n && storeLeaseId === storeLeaseIdOf(remembered)) return true;
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
  const previous = usablePrevious(request, taken);
  for (let losses = 0; losses < LOSSES_PER_READ; losses++) {
    const candidates = Math.min(FIRST_CANDIDATES * 2 ** losses, MAX_CANDIDATES);
    const usePrevious = losses === 0 && previous !== undefined;
    const subnets = usePrevious ? previous : pickFreeSubnets(request.config, taken, directory.random, candidates);
    if (subnets === undefined) {
      // What we lost meanwhile may have been given back.
      if (taken.length > takenWhenRead) return undefined;
      throw exhausted(request, items.length);
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
  const taken: LeasedSubnets[] = [];
  for (const { subnets, lease, ...record } of records) {
    const isDeleted =
      lease !== undefined &&
      (hasSamePublicIp(lease.attributes, request.attributes) || isRemembered({ ...record, lease }, request.remembered));
    if (subnets !== undefined && !isDeleted) taken.push(subnets);
  }
  return taken;
}

function usablePrevious(
  { previous, config }: LeaseRequest,
  taken: readonly LeasedSubnets[],
): LeasedSubnets | undefined {
  if (previous === undefined || incompatibility(previous, config) !== undefined) return undefined;
  return taken.some((subnets) => subnetsOverlap(subnets, previous)) ? undefined : previous;
}

function exhausted({ config }: LeaseRequest, leases: number): FlannelError {
  const pools = [config.ipv4, config.ipv6]
    .filter((pool) => pool !== undefined)
    .map((pool) => `/${pool.subnetLength} in ${pool.network} (${pool.subnetMin} to ${pool.subnetMax})`);
  const message = `no free subnet: ${leases} leases hold all ${pools.join(" or ")}; revoke one or enlarge Network`;
  return new FlannelError("POOL_EXHAUSTED", message, { retryable: true, details: { leases } });
}

async function waitForTurn(backOff: BackOff, signal: AbortSignal): Promise<void> {
  try {
    await backOff.wait(signal);
  } catch {
    throw cancelled("acquire a lease");
  }
}
