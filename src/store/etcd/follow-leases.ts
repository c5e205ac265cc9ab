// Follows the lease keys for a reader: everything at first, then what changes, and everything again when the watch cannot
// be relied on (compaction, another store, something that it left out).
import { EtcdRevision } from "../../etcd-api/etcd-lease.ts";
import { type LeaseRecord, readLeaseEvent } from "../../etcd-api/lease-record.ts";
import type { Lease, LeaseChange } from "../../lease/lease.ts";
import type { LeaseChangeBuffer } from "../../lease/lease-change-buffer.ts";
import { type AuditFinding, type AuditTimings, LeaseAudit } from "./lease-audit.ts";
import { type LeaseDirectory, type LeaseSnapshot, readLeaseRecords, readLeaseStamps } from "./lease-directory.ts";
import { LeaseMirror } from "./lease-mirror.ts";
import { retryWhileFollowing } from "./retry-while-following.ts";
import { StorePast } from "./store-past.ts";
import { type WatchItem, type WatchStart, watchKeys } from "./watch-keys.ts";

export interface FollowOptions {
  readonly directory: LeaseDirectory;
  readonly buffer: LeaseChangeBuffer;
  /** What to begin with instead of reading: all that happened since then comes as events. Taken once. */
  readonly takeKnown: () => LeaseSnapshot | undefined;
  readonly auditTimings: AuditTimings;
  readonly signal: AbortSignal;
}

/** Why everything is read again. */
interface Doubt {
  readonly isOtherStore?: boolean;
  /** Keys that the watch had left out. */
  readonly missedKeys?: readonly string[];
}

/** Resolves when `signal` aborts. */
export async function followLeases(options: FollowOptions): Promise<void> {
  const mirror = new LeaseMirror();
  let doubt: Doubt = {};
  while (!options.signal.aborted) {
    const start = await pushSnapshot(options, mirror, doubt);
    if (start === undefined) return;
    doubt = await followFrom(options, mirror, start);
  }
}

/**
 * Where to watch from; undefined when the signal aborts. A function of its own, so that nothing holds the records during
 * the watch.
 */
async function pushSnapshot(
  { directory, buffer, takeKnown, signal }: FollowOptions,
  mirror: LeaseMirror,
  { isOtherStore = false, missedKeys = [] }: Doubt,
): Promise<WatchStart | undefined> {
  const onFailure = (reason: string, isRefusal: boolean) =>
    buffer.pushSign({ type: "disconnected", reason, ...(isRefusal && { isRefusal }) });
  const read = (attempt: AbortSignal) => readLeaseRecords(directory, attempt);
  const snapshot = takeKnown() ?? (await retryWhileFollowing(read, signal, onFailure));
  if (snapshot === undefined) return undefined;
  const { revision, items, lastPut } = snapshot;
  mirror.beginComparison();
  const isOther = isOtherStore || (mirror.size > 0 && mirror.compare(items).isOtherPast);
  mirror.replace(items, revision);
  const truth = { ...sortRecords(items), revision: new EtcdRevision(revision) };
  buffer.pushSnapshot({
    type: "snapshot",
    ...truth,
    ...(isOther && { isOtherStore: true }),
    ...(!isOther && missedKeys.length > 0 && { missedKeys }),
  });
  const past = new StorePast(snapshot, lastPut);
  return { range: directory.keys.directoryRange, startRevision: revision + 1n, past };
}

/** Until the watch is of no more use; says why. */
async function followFrom(
  { directory, buffer, auditTimings, signal }: FollowOptions,
  mirror: LeaseMirror,
  start: WatchStart,
): Promise<Doubt> {
  const found = new AbortController();
  const untilFound = AbortSignal.any([signal, found.signal]);
  let doubt: Doubt = {};
  await using audit = new LeaseAudit({
    mirror,
    timings: auditTimings,
    signal: untilFound,
    read: async (withValues, attempt) =>
      withValues ? (await readLeaseRecords(directory, attempt)).items : readLeaseStamps(directory, attempt),
    onFinding: ({ isOtherStore, keys }: AuditFinding) => {
      doubt = { isOtherStore, missedKeys: keys };
      found.abort();
    },
  });
  for await (const item of watchKeys(directory.connection, start, untilFound)) {
    if (item.type === "compacted") doubt = { isOtherStore: item.isOtherStore };
    else await pass(item, directory, mirror, buffer, signal);
    if (item.type === "contact" && item.isNew === true) audit.opened();
  }
  return doubt;
}

async function pass(
  item: Exclude<WatchItem, { type: "compacted" }>,
  { keys }: LeaseDirectory,
  mirror: LeaseMirror,
  buffer: LeaseChangeBuffer,
  signal: AbortSignal,
): Promise<void> {
  if (item.type === "disconnected") return buffer.pushSign(item);
  mirror.followTo(item.revision);
  const revision = new EtcdRevision(item.revision);
  if (item.type === "contact") return buffer.pushSign({ type: "contact", revision });
  const events = item.events.map((event) => readLeaseEvent(event, keys.directory));
  for (const { event, record } of events) {
    if (record !== undefined) mirror.put(record);
    else if (event?.type === "delete") mirror.delete(event.key);
  }
  buffer.pushEvents(events, revision);
  await buffer.waitForRoom(signal);
}

function sortRecords(
  records: readonly LeaseRecord[],
): Pick<Extract<LeaseChange, { type: "snapshot" }>, "leases" | "unreadable"> {
  const leases: Lease[] = [];
  const unreadable: { key: string; reason: string }[] = [];
  for (const { key, lease, reason = "" } of records) {
    if (lease === undefined) unreadable.push({ key, reason });
    else leases.push(lease);
  }
  return { leases, unreadable };
}
