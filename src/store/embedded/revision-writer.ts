// Carries out one client's write or transaction. All its changes share one revision. The database's transaction around
// it may hold the writes of many clients.
import {
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  type Event,
  Event_EventType,
  type KeyValue,
  type PutRequest,
  type PutResponse,
} from "../etcd/protocol/etcd.ts";
import type { Database } from "./database.ts";
import { type KeyRange, rangeFromWire, singleKey } from "./key-range.ts";
import { refusals } from "./rpc-error.ts";
import type { Snapshot } from "./snapshot.ts";

const nothing = new Uint8Array(0);

export class RevisionWriter implements Snapshot {
  #compactRevision: bigint;
  readonly events: Event[] = [];
  readonly #database: Database;
  readonly #base: bigint;
  readonly #afterCommit: (() => void)[];

  /** @param afterCommit collects what is to be done once the changes are on disk */
  constructor(database: Database, base: bigint, compactRevision: bigint, afterCommit: (() => void)[]) {
    this.#database = database;
    this.#base = base;
    this.#compactRevision = compactRevision;
    this.#afterCommit = afterCommit;
  }

  get revision(): bigint {
    return this.events.length === 0 ? this.#base : this.#base + 1n;
  }

  get compactRevision(): bigint {
    return this.#compactRevision;
  }

  get database(): Database {
    return this.#database;
  }

  /** Runs `action` after the changes are on disk and before the answer leaves; never when they are not. */
  afterCommit(action: () => void): void {
    this.#afterCommit.push(action);
  }

  /** From now on reads before `revision` are refused. Throws `compacted` or `futureRevision`. */
  compact(revision: bigint): void {
    if (revision <= this.#compactRevision) throw refusals.compacted();
    if (revision > this.revision) throw refusals.futureRevision();
    this.#compactRevision = revision;
  }

  read(range: KeyRange, limit: bigint, revision?: bigint): KeyValue[] {
    return revision === undefined || revision > this.#base
      ? this.#database.readCurrent(range, limit)
      : this.#database.readAt(range, revision, limit);
  }

  count(range: KeyRange, revision?: bigint): bigint {
    return revision === undefined || revision > this.#base
      ? this.#database.countCurrent(range)
      : this.#database.countAt(range, revision);
  }

  hasLease(id: bigint): boolean {
    return this.#database.hasLease(id);
  }

  /** Throws `leaseNotFound` or `keyNotFound` before anything is changed. Without header. */
  put(request: PutRequest): Omit<PutResponse, "header"> {
    const prevKv = this.#find(request.key);
    checkPutApplies(this, request, prevKv !== undefined);
    const revision = this.#base + 1n;
    const kv: KeyValue = {
      key: request.key,
      createRevision: prevKv?.createRevision ?? revision,
      modRevision: revision,
      version: (prevKv?.version ?? 0n) + 1n,
      value: request.ignoreValue && prevKv !== undefined ? prevKv.value : request.value,
      lease: request.ignoreLease && prevKv !== undefined ? prevKv.lease : request.lease,
    };
    this.#write({ type: Event_EventType.PUT, kv, prevKv });
    return { prevKv: request.prevKv ? prevKv : undefined };
  }

  /** Without header. */
  deleteRange(request: DeleteRangeRequest): Omit<DeleteRangeResponse, "header"> {
    const prevKvs = this.read(rangeFromWire(request.key, request.rangeEnd), 0n);
    for (const prevKv of prevKvs) this.#delete(prevKv);
    return { deleted: BigInt(prevKvs.length), prevKvs: request.prevKv ? prevKvs : [] };
  }

  deleteKey(key: Uint8Array): void {
    const prevKv = this.#find(key);
    if (prevKv !== undefined) this.#delete(prevKv);
  }

  #find(key: Uint8Array): KeyValue | undefined {
    return this.#database.readCurrent(singleKey(key), 1n)[0];
  }

  #delete(prevKv: KeyValue): void {
    const modRevision = this.#base + 1n;
    const kv = { key: prevKv.key, createRevision: 0n, modRevision, version: 0n, value: nothing, lease: 0n };
    this.#write({ type: Event_EventType.DELETE, kv, prevKv });
  }

  #write(event: Event): void {
    this.#database.writeChange(event, BigInt(this.events.length));
    this.events.push(event);
  }
}

/** What can only be said with the state of the store at hand. */
export function checkPutApplies(snapshot: Pick<Snapshot, "hasLease">, request: PutRequest, isPresent: boolean): void {
  if (request.lease !== 0n && !snapshot.hasLease(request.lease)) throw refusals.leaseNotFound();
  if ((request.ignoreValue || request.ignoreLease) && !isPresent) throw refusals.keyNotFound();
}
