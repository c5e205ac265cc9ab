// Answers a Range request out of a snapshot, with etcd's rules for limits, filters and order. Pure.
import {
  type KeyValue,
  type RangeRequest,
  RangeRequest_SortOrder,
  RangeRequest_SortTarget,
} from "../../etcd-api/etcd.ts";
import { refusals } from "../grpc/rpc-error.ts";
import type { FramedKeys, Measure } from "./database.ts";
import { type KeyRange, rangeFromWire } from "./key-range.ts";
import { frameKeyValue, unframeKeyValues } from "./key-value-frames.ts";
import type { Snapshot } from "./snapshot.ts";

/** One more is read than is asked for, which overflows in etcd too: as without limit. */
const MAX_LIMIT = 0x7fff_ffff_ffff_fffen;

const nothing = new Uint8Array(0);

export interface RangeAnswer extends FramedKeys {
  /** There are more keys than the limit let in. */
  readonly more: boolean;
}

/** `request` must have passed checkRange. Throws the refusals of `checkRevision`. */
export function evaluateRange(snapshot: Snapshot, request: RangeRequest): RangeAnswer {
  checkRevision(snapshot, request.revision);
  const { range, revision, limit, atMost, isAsStored } = readOf(snapshot, request);
  if (request.countOnly) return { frames: nothing, more: false, count: snapshot.count(range, revision) };
  const found = snapshot.read(range, atMost, revision);
  const isComplete = atMost === 0n || found.count < atMost;
  const count = isComplete ? found.count : snapshot.count(range, revision);
  if (isAsStored) return { frames: found.frames, more: count > found.count, count };
  return { ...arrange(unframeKeyValues(found.frames), request, limit), count };
}

/** How many bytes `evaluateRange` would read. Throws the refusals of `checkRevision`. */
export function measureRange(snapshot: Snapshot, request: RangeRequest): Measure {
  checkRevision(snapshot, request.revision);
  if (request.countOnly) return { bytes: 0n, count: 0n };
  const { range, revision, atMost } = readOf(snapshot, request);
  return snapshot.measure(range, atMost, revision);
}

/** What is to be read for a request, before it is arranged. */
export interface RangeRead {
  readonly range: KeyRange;
  /** Missing: now. */
  readonly revision: bigint | undefined;
  /** Of the answer; 0n: none. */
  readonly limit: bigint;
  /** Of the keys to read; 0n: all. */
  readonly atMost: bigint;
  readonly isAsStored: boolean;
}

export function readOf(snapshot: Pick<Snapshot, "revision">, request: RangeRequest): RangeRead {
  const range = rangeFromWire(request.key, request.rangeEnd);
  const revision = request.revision > 0n && request.revision < snapshot.revision ? request.revision : undefined;
  const limit = request.limit > 0n && request.limit <= MAX_LIMIT ? request.limit : 0n;
  // As in etcd, an order or filter is applied to all keys, a sort target without order only to the first ones.
  const readsAll = limit === 0n || request.sortOrder !== RangeRequest_SortOrder.NONE || hasFilters(request);
  const isAsStored = isWantedAsStored(request);
  return { range, revision, limit, atMost: isAsStored ? limit : readsAll ? 0n : limit + 1n, isAsStored };
}

/** In the order of the keys: it can be made from one key after the other. */
export function isInKeyOrder({ sortOrder, sortTarget }: RangeRequest): boolean {
  return sortTarget === RangeRequest_SortTarget.KEY && sortOrder !== RangeRequest_SortOrder.DESCEND;
}

/** One key of an answer in key order; undefined when it does not belong to it. */
export function arrangeOne(frame: Uint8Array, request: RangeRequest): Uint8Array | undefined {
  if (!request.keysOnly && !hasFilters(request)) return frame;
  const [kv] = unframeKeyValues(frame);
  if (kv === undefined || !passesFilters(kv, request)) return undefined;
  return request.keysOnly ? frameKeyValue({ ...kv, value: nothing }) : frame;
}

/** The answer is what the database holds, in its order. */
function isWantedAsStored(request: RangeRequest): boolean {
  return isInKeyOrder(request) && !request.keysOnly && !hasFilters(request);
}

function arrange(found: KeyValue[], request: RangeRequest, limit: bigint): Omit<RangeAnswer, "count"> {
  let kvs = hasFilters(request) ? found.filter((kv) => passesFilters(kv, request)) : found;
  sort(kvs, request);
  const more = limit > 0n && BigInt(kvs.length) > limit;
  if (more) kvs = kvs.slice(0, Number(limit));
  if (request.keysOnly) for (const kv of kvs) kv.value = nothing;
  return { frames: Buffer.concat(kvs.map(frameKeyValue)), more };
}

/** Throws `futureRevision` or `compacted` when there can be no answer at `revision`; 0n and less mean now. */
export function checkRevision(snapshot: Pick<Snapshot, "revision" | "compactRevision">, revision: bigint): void {
  if (revision <= 0n) return;
  if (revision > snapshot.revision) throw refusals.futureRevision();
  if (revision < snapshot.compactRevision) throw refusals.compacted();
}

function hasFilters(request: RangeRequest): boolean {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  return minModRevision !== 0n || maxModRevision !== 0n || minCreateRevision !== 0n || maxCreateRevision !== 0n;
}

function passesFilters({ modRevision, createRevision }: KeyValue, request: RangeRequest): boolean {
  return (
    (request.maxModRevision === 0n || modRevision <= request.maxModRevision) &&
    (request.minModRevision === 0n || modRevision >= request.minModRevision) &&
    (request.maxCreateRevision === 0n || createRevision <= request.maxCreateRevision) &&
    (request.minCreateRevision === 0n || createRevision >= request.minCreateRevision)
  );
}

type Order = (a: KeyValue, b: KeyValue) => number;

const orders: Readonly<Record<RangeRequest_SortTarget, Order>> = {
  [RangeRequest_SortTarget.KEY]: (a, b) => Buffer.compare(a.key, b.key),
  [RangeRequest_SortTarget.VERSION]: (a, b) => compareNumbers(a.version, b.version),
  [RangeRequest_SortTarget.CREATE]: (a, b) => compareNumbers(a.createRevision, b.createRevision),
  [RangeRequest_SortTarget.MOD]: (a, b) => compareNumbers(a.modRevision, b.modRevision),
  [RangeRequest_SortTarget.VALUE]: (a, b) => Buffer.compare(a.value, b.value),
};

/** By an unknown one etcd sorts nothing. */
const knownOrders: ReadonlySet<number> = new Set(Object.values(RangeRequest_SortOrder));

function sort(kvs: KeyValue[], { sortOrder, sortTarget }: RangeRequest): void {
  const order = orders[sortTarget];
  if (sortOrder === RangeRequest_SortOrder.DESCEND) kvs.sort((a, b) => order(b, a));
  else if (knownOrders.has(sortOrder) && sortTarget !== RangeRequest_SortTarget.KEY) kvs.sort(order);
}

export function compareNumbers(a: bigint, b: bigint): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
