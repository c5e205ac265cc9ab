// Reads all keys of a range as they were at one revision, in pages: no answer near a mebibyte, no long event-loop task.
import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { hasCode } from "../../errors.ts";
import { type KeyValue, RangeRequest, type RangeResponse } from "../../etcd-api/etcd.ts";
import type { KeyRange } from "../../etcd-api/key-space.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import { isTooLarge } from "./etcd-errors.ts";
import { methods } from "./rpc.ts";
import type { StoreFacts } from "./store-past.ts";

const MAX_PAGE_KEYS = 1_000;
/** Before anything is known about the size of the values. */
const FIRST_PAGE_KEYS = 250;
const TARGET_PAGE_BYTES = 512 * 1024;
/** Keys mapped between two turns of the event loop: about 2 ms of work. */
const CHUNK_KEYS = 250;

/** Of the store that answered: another one has other revisions. */
export interface RangeSnapshot<T> extends StoreFacts {
  /** Revision at which the range looked like this. */
  readonly revision: bigint;
  readonly items: T[];
}

export interface RangeFilter {
  readonly keysOnly?: boolean;
  /** What the member itself holds, which may be behind: see without-leader.ts. */
  readonly serializable?: boolean;
  /** Only keys created at or after this revision. */
  readonly minCreateRevision?: bigint;
}

/**
 * Reads `range` sorted by key and maps each key-value at once, so that raw pages can be freed. Starts over when the
 * revision is compacted meanwhile. Rejects with a FlannelError.
 */
export async function readRange<T>(
  connection: EtcdConnection,
  range: KeyRange,
  map: (kv: KeyValue) => T,
  signal: AbortSignal,
  filter: RangeFilter = {},
): Promise<RangeSnapshot<T>> {
  for (;;) {
    try {
      return await readOnce(connection, range, map, signal, filter);
    } catch (error) {
      if (!hasCode(error, "STORE_COMPACTED")) throw error;
    }
  }
}

/** At most `keys` keys; fewer when the server says that they are too large for one answer. */
async function readPage(
  connection: EtcdConnection,
  request: RangeRequest,
  keys: number,
  signal: AbortSignal,
): Promise<RangeResponse> {
  try {
    return await connection.call(methods.range, { ...request, limit: BigInt(keys) }, "read the leases", signal);
  } catch (error) {
    if (keys === 1 || !isTooLarge(error instanceof Error ? error.cause : undefined)) throw error;
    return readPage(connection, request, Math.ceil(keys / 4), signal);
  }
}

async function readOnce<T>(
  connection: EtcdConnection,
  range: KeyRange,
  map: (kv: KeyValue) => T,
  signal: AbortSignal,
  filter: RangeFilter,
): Promise<RangeSnapshot<T>> {
  const items: T[] = [];
  let pageKeys = FIRST_PAGE_KEYS;
  let start = range.start;
  let revision = 0n;
  let facts: StoreFacts = { clusterId: 0n, raftTerm: 0n };
  for (;;) {
    const request = RangeRequest.fromPartial({ ...filter, key: start, rangeEnd: range.end, revision });
    const page = await readPage(connection, request, pageKeys, signal);
    if (revision === 0n) {
      revision = page.header?.revision ?? 0n;
      const { clusterId = 0n, raftTerm = 0n } = page.header ?? {};
      facts = { clusterId, raftTerm };
    }
    await mapInChunks(page.kvs, map, items);
    const last = page.kvs.at(-1);
    if (!page.more || last === undefined) return { revision, ...facts, items };
    start = Buffer.concat([last.key, Uint8Array.of(0)]);
    pageKeys = nextPageKeys(page.kvs);
  }
}

async function mapInChunks<T>(kvs: readonly KeyValue[], map: (kv: KeyValue) => T, items: T[]): Promise<void> {
  for (const [index, kv] of kvs.entries()) {
    if (index > 0 && index % CHUNK_KEYS === 0) await yieldToEventLoop();
    items.push(map(kv));
  }
}

/** As many keys as would have filled the target, judged by the page just read. */
function nextPageKeys(kvs: readonly KeyValue[]): number {
  const bytes = kvs.reduce((sum, kv) => sum + kv.key.length + kv.value.length + 32, 0);
  return Math.min(Math.max(Math.floor((TARGET_PAGE_BYTES * kvs.length) / bytes), 1), MAX_PAGE_KEYS);
}
