// Group commit: writes that arrive in one turn of the event loop share one transaction and one fsync. Nobody hears of
// a change, neither its author nor a watcher, before it is on disk.

import { grpcStatus, RpcError, refusals } from "../grpc/rpc-error.ts";
import type { Change } from "./change.ts";
import type { Database } from "./database.ts";
import type { Quota, QuotaRoom } from "./quota.ts";
import { RevisionWriter } from "./revision-writer.ts";
import { isDiskFull, resultCode } from "./sqlite-error.ts";

/** The changes of one revision, on disk. */
export interface CommittedRevision {
  readonly revision: bigint;
  readonly changes: readonly Change[];
}

/** A longer queue is worked off in several transactions, so that reads and pings get their turn. */
const MAX_BATCH = 512;

interface Waiting {
  run(writer: RevisionWriter): void;
  settle(): void;
  reject(error: unknown): void;
}

export interface CommitQueueOptions {
  readonly database: Database;
  readonly quota: Quota;
  /** Little room is left: to be called after each transaction of such a time. */
  readonly onScarce: () => void;
  readonly revision: bigint;
  /** Could not be written at the start: to be done within the first transaction that changes keys. */
  readonly overdue?: () => void;
  /** Called for each committed revision in order, before any of the batch's answers leaves. */
  readonly publish: (committed: CommittedRevision) => void;
  /** A transaction could not be written; its authors got an error. */
  readonly onFailure: (error: unknown) => void;
}

export class CommitQueue {
  readonly #options: CommitQueueOptions;
  #overdue: (() => void) | undefined;
  #revision: bigint;
  #compactRevision: bigint;
  #waiting: Waiting[] = [];
  /** `scheduled`: what waits is carried out in the next turn of the event loop. `closed` is the last one. */
  #state: "idle" | "scheduled" | "closed" = "idle";
  #isDiskFull = false;

  constructor(options: CommitQueueOptions & { readonly compactRevision: bigint }) {
    this.#options = options;
    this.#overdue = options.overdue;
    this.#revision = options.revision;
    this.#compactRevision = options.compactRevision;
  }

  /** Of the last change on disk. */
  get revision(): bigint {
    return this.#revision;
  }

  /** Writes are refused for want of room, on the disk or by the quota. */
  get isFull(): boolean {
    return this.#isDiskFull || this.#options.quota.isFull;
  }

  /** On disk, too. */
  get compactRevision(): bigint {
    return this.#compactRevision;
  }

  /**
   * Runs `operation` in order with all others and resolves with its result once its changes are on disk. What it
   * throws rejects this promise alone, unless the disk is to blame. It may run twice: only what it writes counts.
   */
  submit<T>(operation: (writer: RevisionWriter) => T): Promise<T> {
    if (this.#state === "closed") return Promise.reject(refusals.stopped());
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    let settle = (): void => reject(refusals.stopped());
    this.#waiting.push({
      run: (writer) => {
        const result = operation(writer);
        settle = () => resolve(result);
      },
      settle: () => settle(),
      reject,
    });
    this.#schedule();
    return promise;
  }

  /** Commits what is waiting and accepts no more. */
  close(): void {
    while (this.#waiting.length > 0) this.#flush();
    this.#state = "closed";
  }

  #schedule(): void {
    if (this.#state !== "idle") return;
    this.#state = "scheduled";
    setImmediate(() => {
      if (this.#state === "closed") return;
      this.#state = "idle";
      this.#flush();
      if (this.#waiting.length > 0) this.#schedule();
    });
  }

  #flush(): void {
    const batch = this.#waiting.slice(0, MAX_BATCH);
    if (batch.length === 0) return;
    this.#waiting = this.#waiting.slice(MAX_BATCH);
    const { database, onFailure, publish, quota, onScarce } = this.#options;
    let work: Batch;
    try {
      work = this.#carryOut(batch);
    } catch (error) {
      database.rollback();
      this.#isDiskFull = isDiskFull(error);
      const answer = failureAnswer(error);
      for (const { reject } of batch) reject(answer);
      onFailure(error);
      return;
    }
    if (work.committed.length > 0) {
      this.#overdue = undefined;
      this.#isDiskFull = false;
    }
    if (quota.isScarce) onScarce();
    this.#revision = work.revision;
    this.#compactRevision = work.compactRevision;
    for (const action of work.afterCommit) action();
    for (const committed of work.committed) publish(committed);
    for (const { settle } of work.done) settle();
  }

  /** Throws when nothing could be written: then nothing was. */
  #carryOut(batch: readonly Waiting[]): Batch {
    const { database, quota } = this.#options;
    const attempt = (isEachUndoable: boolean) => {
      const room = quota.begin(() => database.size().usedBytes);
      const work = new Batch(database, room, [this.#revision, this.#compactRevision], isEachUndoable);
      work.carryOut(batch, this.#overdue);
      return work;
    };
    try {
      return attempt(false);
    } catch (error) {
      if (isOfStorage(error)) throw error;
      // A defect in one operation, maybe after it changed something: no reason to refuse its neighbours. Savepoints
      // cost time: used only now.
      database.rollback();
      return attempt(true);
    }
  }
}

/** One database transaction. */
class Batch {
  revision: bigint;
  compactRevision: bigint;
  readonly committed: CommittedRevision[] = [];
  readonly afterCommit: (() => void)[] = [];
  /** Those that were not refused. */
  done: readonly Waiting[] = [];
  readonly #database: Database;
  readonly #isEachUndoable: boolean;
  readonly #room: QuotaRoom;

  /** `revisions`: the last one, and that of the last compaction. */
  constructor(
    database: Database,
    room: QuotaRoom,
    [revision, compactRevision]: readonly [bigint, bigint],
    isEachUndoable: boolean,
  ) {
    this.#database = database;
    this.#room = room;
    this.revision = revision;
    this.compactRevision = compactRevision;
    this.#isEachUndoable = isEachUndoable;
  }

  carryOut(batch: readonly Waiting[], overdue?: () => void): void {
    const { compactRevision } = this;
    this.#database.begin();
    this.done = batch.filter((waiting) => (this.#isEachUndoable ? this.#runUndoable(waiting) : this.#runOne(waiting)));
    if (this.compactRevision !== compactRevision) this.#database.setMeta("compact_revision", this.compactRevision);
    // A transaction that only reads works on a full disk, too.
    if (this.committed.length > 0) overdue?.();
    this.#database.commit();
  }

  /** Whatever it throws rejects it alone, and nothing of it stays. */
  #runUndoable(waiting: Waiting): boolean {
    const actions = this.afterCommit.length;
    let isDone = false;
    this.#database.mark();
    try {
      isDone = this.#runOne(waiting);
    } catch (error) {
      if (isOfStorage(error)) throw error;
      this.#database.undoToMark();
      this.afterCommit.length = actions;
      waiting.reject(error);
    }
    this.#database.unmark();
    return isDone;
  }

  #runOne(waiting: Waiting): boolean {
    const writer = new RevisionWriter(
      this.#database,
      this.revision,
      this.compactRevision,
      this.afterCommit,
      this.#room,
    );
    try {
      waiting.run(writer);
    } catch (error) {
      if (!(error instanceof RpcError) || writer.changes.length > 0) throw error;
      waiting.reject(error);
      return false;
    }
    this.compactRevision = writer.compactRevision;
    if (writer.changes.length > 0) {
      this.revision = writer.revision;
      this.committed.push({ revision: writer.revision, changes: writer.changes });
    }
    return true;
  }
}

/** SQLite's codes for what one statement asked for: its values are too big, or do not fit. All others are the disk's. */
const STATEMENT_CODES: ReadonlySet<number> = new Set([18, 19, 20, 25]);

function isOfStorage(error: unknown): boolean {
  const code = resultCode(error);
  return code !== undefined && !STATEMENT_CODES.has(code);
}

function failureAnswer(error: unknown): RpcError {
  if (isDiskFull(error)) return refusals.noSpace();
  return new RpcError(grpcStatus.unavailable, "etcdserver: the store cannot write to its disk", { cause: error });
}
