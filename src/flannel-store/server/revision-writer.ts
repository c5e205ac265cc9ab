// Carries out one client's write or transaction. All its changes share one revision. The database's transaction around
// it may hold the writes of many clients.
import type {
  DeleteRangeRequest,
  DeleteRangeResponse,
  KeyValue,
  PutRequest,
  PutResponse,
} from "../../etcd-api/etcd.ts";
import { refusals } from "../grpc/rpc-error.ts";
import { type Change, changeNumber, MAX_CHANGES_PER_REVISION } from "./change.ts";
import { checkAnswerBytes } from "./check-request.ts";
import type { Database, FramedKeys, KeyState, Measure } from "./database.ts";
import { type KeyRange, rangeFromWire, singleKey } from "./key-range.ts";
import { frameKeyValue, unframeKeyValues } from "./key-value-frames.ts";
import type { QuotaRoom } from "./quota.ts";
import type { Snapshot } from "./snapshot.ts";

export class RevisionWriter implements Snapshot {
  #compactRevision: bigint;
  readonly changes: Change[] = [];
  readonly #database: Database;
  readonly #base: bigint;
  readonly #afterCommit: (() => void)[];
  readonly #room: QuotaRoom;

  /** @param afterCommit collects what is to be done once the changes are on disk */
  constructor(
    database: Database,
    base: bigint,
    compactRevision: bigint,
    afterCommit: (() => void)[],
    room: QuotaRoom = { take: () => undefined },
  ) {
    this.#room = room;
    this.#database = database;
    this.#base = base;
    this.#compactRevision = compactRevision;
    this.#afterCommit = afterCommit;
  }

  get revision(): bigint {
    return this.changes.length === 0 ? this.#base : this.#base + 1n;
  }

  get compactRevision(): bigint {
    return this.#compactRevision;
  }

  get database(): Database {
    return this.#database;
  }

  /** To be called for what is about to be written, before it is. Throws `noSpace`. */
  takeRoom(bytes: number): void {
    this.#room.take(bytes);
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

  read(range: KeyRange, limit: bigint, revision?: bigint): FramedKeys {
    return revision === undefined || revision > this.#base
      ? this.#database.readCurrent(range, limit)
      : this.#database.readAt(range, revision, limit);
  }

  measure(range: KeyRange, limit: bigint, revision?: bigint): Measure {
    return this.#database.measure(range, limit, revision === undefined || revision > this.#base ? undefined : revision);
  }

  count(range: KeyRange, revision?: bigint): bigint {
    return revision === undefined || revision > this.#base
      ? this.#database.countCurrent(range)
      : this.#database.countAt(range, revision);
  }

  hasLease(id: bigint): boolean {
    return this.#database.hasLease(id);
  }

  state(key: Uint8Array): KeyState | undefined {
    return this.#database.state(key);
  }

  /** Of what stands in the key, with its value. */
  stateBytes(key: Uint8Array): number {
    return Number(this.measure(singleKey(key), 0n).bytes);
  }

  /** Of what `deleteRange` would give back. */
  bytesBefore({ key, rangeEnd }: DeleteRangeRequest): number {
    const bytes = Number(this.measure(rangeFromWire(key, rangeEnd), 0n).bytes);
    checkAnswerBytes(bytes);
    return bytes;
  }

  /** Throws `leaseNotFound` or `keyNotFound` before anything is changed. Without header. */
  put(request: PutRequest): Omit<PutResponse, "header"> {
    const { key, ignoreValue, ignoreLease } = request;
    const needsState = request.prevKv || ignoreValue || ignoreLease;
    const state = needsState ? this.state(key) : undefined;
    checkPutApplies(this, request, state !== undefined);
    const prevKv = state === undefined ? undefined : this.#database.readChange(state.number);
    const lease = ignoreLease && state !== undefined ? state.lease : request.lease;
    const value = ignoreValue && prevKv !== undefined ? prevKv.value : request.value;
    this.#write({ key, value, lease });
    return { prevKv: request.prevKv ? prevKv : undefined };
  }

  /** Throws `tooManyOperations`. Without header. */
  deleteRange(request: DeleteRangeRequest): Omit<DeleteRangeResponse, "header"> {
    const range = rangeFromWire(request.key, request.rangeEnd);
    const prevKvs = request.prevKv ? unframeKeyValues(this.read(range, 0n).frames) : [];
    return { deleted: BigInt(this.#delete(range)), prevKvs };
  }

  deleteKey(key: Uint8Array): void {
    this.#delete(singleKey(key));
  }

  #delete(range: KeyRange): number {
    const keys = this.#database.currentKeys(range);
    const sub = this.changes.length;
    if (sub + keys.length > MAX_CHANGES_PER_REVISION) throw refusals.tooManyOperations();
    const revision = this.#base + 1n;
    if (keys.length > 0) this.#database.deleteRange(range, changeNumber(revision, sub));
    for (const key of keys) this.changes.push({ key, revision, frame: undefined });
    return keys.length;
  }

  #write({ key, value, lease }: Pick<KeyValue, "key" | "value" | "lease">): void {
    const revision = this.#base + 1n;
    const number = changeNumber(revision, this.changes.length);
    const { createRevision, version } = this.#database.writeCurrent(key, number, revision, lease);
    const frame = frameKeyValue({ key, createRevision, modRevision: revision, version, value, lease });
    this.#database.writeHistory(number, key, frame);
    this.changes.push({ key, revision, frame });
  }
}

/** What can only be said with the state of the store at hand. */
export function checkPutApplies(snapshot: Pick<Snapshot, "hasLease">, request: PutRequest, isPresent: boolean): void {
  if (request.lease !== 0n && !snapshot.hasLease(request.lease)) throw refusals.leaseNotFound();
  if ((request.ignoreValue || request.ignoreLease) && !isPresent) throw refusals.keyNotFound();
}
