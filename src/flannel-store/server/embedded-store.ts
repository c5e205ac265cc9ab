// The store itself: keys with their history, leases, watchers, in one directory that belongs to this process. Knows
// nothing of the network.
import { randomBytes, randomInt } from "node:crypto";
import { join } from "node:path";
import type { RangeRequest, ResponseHeader } from "../../etcd-api/etcd.ts";
import { CommitQueue } from "./commit-queue.ts";
import { Compactor } from "./compactor.ts";
import { Database, type Measure } from "./database.ts";
import { prepareDatabaseFile } from "./database-files.ts";
import { evaluateRange, measureRange, type RangeAnswer, type RangeRead, readOf } from "./evaluate-range.ts";
import type { KeyRange } from "./key-range.ts";
import { LeaseRegistry } from "./lease-registry.ts";
import { DEFAULT_QUOTA_BYTES, Quota } from "./quota.ts";
import type { RevisionWriter } from "./revision-writer.ts";
import { createDatabase } from "./schema.ts";
import type { Snapshot } from "./snapshot.ts";
import { isDiskFull } from "./sqlite-error.ts";
import { WatchHub } from "./watch-hub.ts";

export interface EmbeddedStoreOptions {
  readonly directory: string;
  /** History younger than this is kept. */
  readonly retentionMs: number;
  /** Default 1 GiB; see quota.ts. */
  readonly quotaBytes?: number;
  /** Something failed that nobody waits for, or whose authors got an error. */
  readonly onFailure: (error: unknown) => void;
}

const databaseFileName = "store.db";

/** etcd's first revision, before any write. */
const FIRST_REVISION = 1n;

export class EmbeddedStore implements AsyncDisposable {
  readonly watches: WatchHub;
  readonly leases: LeaseRegistry;
  readonly compactor: Compactor;
  readonly clusterId: bigint;
  readonly memberId: bigint;
  /** Names this start: rises with every start, and is no other's, not even of a copy of the files put back. */
  readonly term: bigint;
  readonly #database: Database;
  readonly #queue: CommitQueue;

  private constructor(database: Database, options: EmbeddedStoreOptions) {
    this.#database = database;
    this.clusterId = knownOr(database, "cluster_id", randomId);
    this.memberId = knownOr(database, "member_id", randomId);
    this.term = newTerm(database.meta("term") ?? 0n);
    const writeTerm = () => database.setMeta("term", this.term);
    const isTermWritten = isDoneUnlessFull(writeTerm, options.onFailure);
    this.watches = new WatchHub(database, () => this.#queue);
    this.#queue = new CommitQueue({
      database,
      quota: new Quota(options.quotaBytes ?? DEFAULT_QUOTA_BYTES, (bytes) => options.onFailure(quotaReached(bytes))),
      onScarce: () => void this.compactor.relieve().catch(options.onFailure),
      revision: database.lastRevision() ?? FIRST_REVISION,
      compactRevision: database.meta("compact_revision") ?? -1n,
      publish: (committed) => this.watches.publish(committed),
      onFailure: options.onFailure,
      ...(!isTermWritten && { overdue: writeTerm }),
    });
    this.leases = new LeaseRegistry(this.#queue, database, options.onFailure);
    this.compactor = new Compactor(this.#queue, database, options);
  }

  /** The caller made the directory and holds its lock. Throws SQLite's and file errors, and for files that lost something. */
  static open(options: EmbeddedStoreOptions): EmbeddedStore {
    const file = join(options.directory, databaseFileName);
    prepareDatabaseFile(file, createDatabase);
    const database = Database.open(file);
    try {
      return new EmbeddedStore(database, options);
    } catch (error) {
      database[Symbol.dispose]();
      throw error;
    }
  }

  get revision(): bigint {
    return this.#queue.revision;
  }

  /** Writes are refused for want of room. */
  get isFull(): boolean {
    return this.#queue.isFull;
  }

  get compactRevision(): bigint {
    return this.#queue.compactRevision;
  }

  /** `revision` missing: the store's present one. */
  header(revision = this.#queue.revision): ResponseHeader {
    return { clusterId: this.clusterId, memberId: this.memberId, revision, raftTerm: this.term };
  }

  range(request: RangeRequest): RangeAnswer & { header: ResponseHeader } {
    return { ...evaluateRange(this.#snapshot(), request), header: this.header() };
  }

  /** How much `range` would read. Throws the same refusals. */
  measureRange(request: RangeRequest): Measure {
    return measureRange(this.#snapshot(), request);
  }

  readOf(request: RangeRequest): RangeRead {
    return readOf(this.#snapshot(), request);
  }

  /** Keys as they were after `revision`; see Database.framesAt. */
  framesAt(range: KeyRange, revision: bigint): ReturnType<Database["framesAt"]> {
    return this.#database.framesAt(range, revision);
  }

  countAt(range: KeyRange, revision: bigint): bigint {
    return this.#database.countAt(range, revision);
  }

  /**
   * Carries out a write; its changes, if any, share one revision. Resolves once they are on disk, with the header of
   * the moment after it. What `operation` throws before it changes something is refused.
   */
  write<T>(operation: (writer: RevisionWriter) => T): Promise<T & { header: ResponseHeader }> {
    return this.#queue.submit((writer) => {
      const result = operation(writer);
      return { ...result, header: this.header(writer.revision) };
    });
  }

  /** Looks at what is on disk, between two writes. */
  inspect<T>(look: (database: Database) => T): T {
    return look(this.#database);
  }

  keysOfLease(id: bigint): Uint8Array[] {
    return this.#database.keysOfLease(id);
  }

  measureKeysOfLease(id: bigint): number {
    return Number(this.#database.measureKeysOfLease(id));
  }

  size(): ReturnType<Database["size"]> {
    return this.#database.size();
  }

  /** Finishes what was begun, writes the leases' remaining time and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.leases[Symbol.dispose]();
    await this.compactor[Symbol.asyncDispose]();
    try {
      await this.leases.writeRemaining();
    } finally {
      this.#queue.close();
      this.#database[Symbol.dispose]();
    }
  }

  #snapshot(): Snapshot {
    const database = this.#database;
    const { revision, compactRevision } = this.#queue;
    return {
      revision,
      compactRevision,
      read: (range: KeyRange, limit, at) =>
        at === undefined ? database.readCurrent(range, limit) : database.readAt(range, at, limit),
      measure: (range: KeyRange, limit, at) => database.measure(range, limit, at),
      count: (range: KeyRange, at) => (at === undefined ? database.countCurrent(range) : database.countAt(range, at)),
      state: (key) => database.state(key),
      hasLease: (id) => database.hasLease(id),
    };
  }
}

function quotaReached(bytes: bigint): Error {
  return new Error(
    `the database holds ${bytes / 1024n ** 2n} MiB, as much as --quota-mb allows: keys are not written and leases not granted ` +
      "until keys are deleted, which works; flannel needs a kilobyte for each host, so look what else is there",
  );
}

/** A full disk is no reason to refuse reads as well. */
function isDoneUnlessFull(write: () => void, onFailure: (error: unknown) => void): boolean {
  try {
    write();
    return true;
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    onFailure(error);
    return false;
  }
}

function knownOr(database: Database, name: "cluster_id" | "member_id", make: () => bigint): bigint {
  const known = database.meta(name);
  if (known !== undefined) return known;
  const made = make();
  database.setMeta(name, made);
  return made;
}

/** The microsecond of now, so that two starts that go on from one state of the files do not share a term. */
function newTerm(last: bigint): bigint {
  const now = BigInt(Date.now()) * 1_000n + BigInt(randomInt(1_000));
  return now > last ? now : last + 1n;
}

/** Positive as a signed 64-bit number, so that it looks the same everywhere. */
function randomId(): bigint {
  return (randomBytes(8).readBigInt64BE() & 0x7fff_ffff_ffff_ffffn) | 1n;
}
