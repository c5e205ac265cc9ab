// Forgets old history, in small steps between other work, and gives the room back to the file system.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { CommitQueue } from "./commit-queue.ts";
import type { Database } from "./database.ts";

/** Changes looked at, and pages given back, in one transaction. */
const STEP_CHANGES = 1_000n;
const STEP_PAGES = 500;
/** How many times within the retention time the revision is noted down. */
const NOTES_PER_RETENTION = 10;
/** Between two compactions for want of room. */
const RELIEF_INTERVAL_MS = 2_000;
/** At least so often: a timer of more than 24 days would run every millisecond. */
const MAX_NOTE_INTERVAL_MS = 3_600_000;

interface Note {
  readonly atMs: number;
  readonly revision: bigint;
}

export class Compactor implements AsyncDisposable {
  readonly #queue: CommitQueue;
  readonly #database: Database;
  readonly #retentionMs: number;
  readonly #timer: NodeJS.Timeout;
  /** Revisions that are being read: what they need is not forgotten yet. */
  readonly #kept: { readonly revision: bigint }[] = [];
  #notes: Note[] = [];
  #sweep: Promise<void>;
  /** `relieving`: all history is being forgotten for want of room. `closed` is the last one. */
  #state: "idle" | "relieving" | "closed" = "idle";
  #relievedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    queue: CommitQueue,
    database: Database,
    options: { readonly retentionMs: number; readonly onFailure: (error: unknown) => void },
  ) {
    this.#queue = queue;
    this.#database = database;
    this.#retentionMs = options.retentionMs;
    const { onFailure } = options;
    const intervalMs = Math.min(options.retentionMs / NOTES_PER_RETENTION, MAX_NOTE_INTERVAL_MS);
    this.#timer = setInterval(() => {
      this.#compactByAge().catch(onFailure);
    }, intervalMs);
    this.#timer.unref();
    // A stop may have come in the middle of the last one.
    this.#sweep = this.#forgetUpTo(queue.compactRevision).catch(onFailure);
  }

  /**
   * Refuses reads before `revision` from now on; the room is given back later, or before this resolves when
   * `waitsForRoom`. Rejects with `compacted` or `futureRevision`.
   */
  async compact(revision: bigint, waitsForRoom: boolean): Promise<void> {
    await this.#queue.submit((writer) => writer.compact(revision));
    const sweep = this.#sweep.then(() => this.#forgetUpTo(revision));
    this.#sweep = sweep.catch(() => undefined);
    if (waitsForRoom) await sweep;
  }

  /** For want of room all history is forgotten. Call it as often as you like. Rejects with what kept it from that. */
  async relieve(): Promise<void> {
    const { revision, compactRevision } = this.#queue;
    const isTooSoon = performance.now() - this.#relievedAtMs < RELIEF_INTERVAL_MS;
    if (this.#state !== "idle" || isTooSoon || revision <= compactRevision) return;
    this.#state = "relieving";
    try {
      await this.compact(revision, true);
    } finally {
      this.#endRelief();
    }
  }

  /** What a read at `revision`, which must not be compacted now, needs is kept until this is disposed of. */
  keep(revision: bigint): Disposable {
    const entry = { revision };
    this.#kept.push(entry);
    return {
      [Symbol.dispose]: () => {
        this.#kept.splice(this.#kept.indexOf(entry), 1);
      },
    };
  }

  #endRelief(): void {
    if (this.#state === "relieving") this.#state = "idle";
    this.#relievedAtMs = performance.now();
  }

  get #isClosed(): boolean {
    return this.#state === "closed";
  }

  /** Gives all unused room back. */
  async shrink(): Promise<void> {
    for (let left = 1; left > 0 && !this.#isClosed; await nextTurn()) {
      left = await this.#queue.submit(() => this.#database.shrink(STEP_PAGES));
    }
    if (!this.#isClosed) this.#database.checkpoint();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = "closed";
    clearInterval(this.#timer);
    await this.#sweep;
  }

  async #compactByAge(): Promise<void> {
    const nowMs = performance.now();
    const old = this.#notes.filter(({ atMs }) => atMs <= nowMs - this.#retentionMs);
    this.#notes = [...this.#notes.slice(old.length), { atMs: nowMs, revision: this.#queue.revision }];
    const revision = old.at(-1)?.revision;
    if (revision !== undefined && revision > this.#queue.compactRevision) await this.compact(revision, true);
  }

  /** What is kept for a reader goes with the next compaction. */
  async #forgetUpTo(wanted: bigint): Promise<void> {
    const compactRevision = this.#kept.reduce((least, { revision }) => (revision < least ? revision : least), wanted);
    let after = 0n;
    while (after < compactRevision && !this.#isClosed) {
      const last = this.#database.revisionAfter(after, STEP_CHANGES);
      const upTo = last === undefined || last > compactRevision ? compactRevision : last;
      const from = after;
      await this.#queue.submit(() => this.#database.forget(from, upTo, compactRevision));
      after = upTo;
      await nextTurn();
    }
    if (compactRevision > 0n) await this.shrink();
  }
}
