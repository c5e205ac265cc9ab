// Leases: granted, kept alive, revoked, expired. What is promised to a client is on disk first.
import { randomBytes } from "node:crypto";
import { refusals } from "../grpc/rpc-error.ts";
import type { CommitQueue } from "./commit-queue.ts";
import type { Database, LeaseRow } from "./database.ts";
import { LeaseClock, type LeaseState, remainingMs } from "./lease-clock.ts";
import { LEASE_BYTES } from "./quota.ts";
import type { RevisionWriter } from "./revision-writer.ts";

/** etcd's with its usual timing: shorter wishes are raised to it. */
const MIN_TTL_SECONDS = 2n;
/** etcd's: 285 years. */
const MAX_TTL_SECONDS = 9_000_000_000n;
const EXPIRY_CHECK_MS = 500;
/** A check that is late by more means that the process was stopped, and could not have heard of any renewal. */
const STOPPED_MS = 1_000;
/** Expired leases revoked at one go; the rest follows at the next. */
const MAX_EXPIRED_AT_ONCE = 1_000;

export type LeaseExchange = (writer: RevisionWriter, granted: bigint) => readonly bigint[];

export class LeaseRegistry implements Disposable {
  readonly #queue: CommitQueue;
  readonly #database: Database;
  readonly #clock = new LeaseClock();
  readonly #timer: NodeJS.Timeout;
  #isExpiring = false;
  #checkedAtMs = performance.now();

  /** @param onFailure an expired lease could not be revoked; it is tried again */
  constructor(queue: CommitQueue, database: Database, onFailure: (error: unknown) => void) {
    this.#queue = queue;
    this.#database = database;
    for (const row of database.leases()) this.#clock.set(row);
    this.#timer = setInterval(() => {
      this.#expire().catch(onFailure);
    }, EXPIRY_CHECK_MS);
    this.#timer.unref();
  }

  get size(): number {
    return this.#clock.size;
  }

  /**
   * `id` 0n: any. Resolves with what was granted. Rejects with `leaseTtlTooLarge` or `leaseExists`.
   * @param exchange told of the grant within its write; gives leases that are revoked with it
   */
  async grant(id: bigint, ttlSeconds: bigint, exchange?: LeaseExchange): Promise<LeaseRow> {
    if (ttlSeconds > MAX_TTL_SECONDS) throw refusals.leaseTtlTooLarge();
    const ttl = ttlSeconds < MIN_TTL_SECONDS ? MIN_TTL_SECONDS : ttlSeconds;
    return await this.#queue.submit((writer) => {
      if (id !== 0n && writer.hasLease(id)) throw refusals.leaseExists();
      writer.takeRoom(LEASE_BYTES);
      const row = { id: id === 0n ? freeId(writer) : id, ttlSeconds: ttl, remainingMs: ttl * 1_000n };
      this.#write(writer, row);
      for (const old of exchange?.(writer, row.id) ?? []) this.#remove(writer, old);
      return row;
    });
  }

  /** Gives the lease its full time again; undefined when there is none. */
  async keepAlive(id: bigint): Promise<LeaseRow | undefined> {
    this.#noticeStop();
    const lease = this.#clock.get(id);
    if (lease === undefined || remainingMs(lease) <= 0) return undefined;
    const row = { id, ttlSeconds: lease.ttlSeconds, remainingMs: lease.ttlSeconds * 1_000n };
    // The full time stands in the database already, unless it was written at a stop: nothing to write.
    if (lease.writtenMs === Number(row.remainingMs)) this.#clock.set(row);
    else await this.#queue.submit((writer) => (writer.hasLease(id) ? this.#write(writer, row) : undefined));
    return this.#clock.get(id) === undefined ? undefined : row;
  }

  /** Deletes the lease and its keys, at one revision. Rejects with `leaseNotFound`, or what `check` throws. */
  async revoke(id: bigint, check?: (writer: RevisionWriter) => void): Promise<void> {
    await this.#queue.submit((writer) => {
      if (!writer.hasLease(id)) throw refusals.leaseNotFound();
      check?.(writer);
      this.#remove(writer, id);
    });
  }

  get(id: bigint): LeaseState | undefined {
    this.#noticeStop();
    return this.#clock.get(id);
  }

  all(): LeaseState[] {
    return this.#clock.all();
  }

  /** Writes down how much time each lease has left, at a stop. */
  async writeRemaining(): Promise<void> {
    await this.#queue.submit((writer) => {
      for (const lease of this.#clock.all()) {
        const { id, ttlSeconds } = lease;
        writer.database.putLease({ id, ttlSeconds, remainingMs: BigInt(Math.ceil(remainingMs(lease))) });
      }
    });
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #write(writer: RevisionWriter, row: LeaseRow): void {
    this.#database.putLease(row);
    writer.afterCommit(() => this.#clock.set(row));
  }

  #remove(writer: RevisionWriter, id: bigint): void {
    for (const key of this.#database.keysOfLease(id)) writer.deleteKey(key);
    this.#database.deleteLease(id);
    writer.afterCommit(() => this.#clock.delete(id));
  }

  /** What was sent to a stopped process may be read before its timers run. */
  #noticeStop(): void {
    const lateMs = performance.now() - this.#checkedAtMs - EXPIRY_CHECK_MS;
    if (lateMs < STOPPED_MS) return;
    this.#checkedAtMs += lateMs;
    this.#clock.postpone(lateMs);
  }

  async #expire(): Promise<void> {
    this.#noticeStop();
    this.#checkedAtMs = performance.now();
    if (this.#isExpiring) return;
    this.#isExpiring = true;
    try {
      const due = this.#clock.due().slice(0, MAX_EXPIRED_AT_ONCE);
      const revoke = (id: bigint) =>
        this.#queue.submit((writer) => (writer.hasLease(id) ? this.#remove(writer, id) : undefined));
      await Promise.all(due.map(revoke));
    } finally {
      this.#isExpiring = false;
    }
  }
}

/** Positive, not in use. */
function freeId(writer: RevisionWriter): bigint {
  for (;;) {
    const id = randomBytes(8).readBigInt64BE() & 0x7fff_ffff_ffff_ffffn;
    if (id !== 0n && !writer.hasLease(id)) return id;
  }
}
