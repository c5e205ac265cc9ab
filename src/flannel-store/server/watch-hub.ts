// Hands committed changes to watchers. A watcher whose receiver is congested is left behind and later caught up from
// the history in the database, so that it costs nobody else time or memory.
import type { Change } from "./change.ts";
import type { CommitQueue, CommittedRevision } from "./commit-queue.ts";
import type { Database } from "./database.ts";
import { isInRange, type KeyRange } from "./key-range.ts";
import { RevisionEvents, type WatchAnswer } from "./watch-events.ts";

/** Where the events of some watchers go: one gRPC stream. */
export interface WatchReceiver {
  /** True: deliver nothing now; `WatchHub.catchUp` is called when there is room again. */
  readonly isCongested: boolean;
  deliver(watcher: Watcher, answer: WatchAnswer): void;
  /** Changes that the watcher has not seen are no longer kept; it has been removed. */
  compacted(watcher: Watcher, compactRevision: bigint): void;
  /** A watcher has seen everything again. */
  caughtUp(): void;
}

export interface WatcherOptions {
  readonly id: bigint;
  readonly range: KeyRange;
  readonly wantsPuts: boolean;
  readonly wantsDeletes: boolean;
  readonly wantsPrevious: boolean;
  readonly wantsFragments: boolean;
  readonly wantsProgress: boolean;
  readonly receiver: WatchReceiver;
}

export interface Watcher extends WatcherOptions {
  /** The first revision it has not seen. */
  nextRevision: bigint;
  isSynced: boolean;
  /** Since the last round of progress notifications. */
  hadEvents: boolean;
}

const PAGE_ROWS = 1_000;
const PAGE_BYTES = 1024 * 1024;

export class WatchHub {
  readonly #database: Database;
  readonly #queue: () => Pick<CommitQueue, "revision" | "compactRevision">;
  readonly #watchers = new Set<Watcher>();

  /** @param queue says which revision has been reached; asked late, since it publishes to this hub */
  constructor(database: Database, queue: () => Pick<CommitQueue, "revision" | "compactRevision">) {
    this.#database = database;
    this.#queue = queue;
  }

  /** Registers a watcher of changes from `startRevision` on. Call `catchUp` then, in the same turn or later. */
  add(options: WatcherOptions, startRevision: bigint): Watcher {
    const watcher = { ...options, nextRevision: startRevision, isSynced: false, hadEvents: false };
    this.#watchers.add(watcher);
    return watcher;
  }

  remove(watcher: Watcher): void {
    this.#watchers.delete(watcher);
  }

  publish({ revision, changes }: CommittedRevision): void {
    let events: RevisionEvents | undefined;
    for (const watcher of this.#watchers) {
      if (!watcher.isSynced || revision < watcher.nextRevision) continue;
      if (!changes.some((change) => wants(watcher, change))) continue;
      if (watcher.receiver.isCongested) {
        watcher.isSynced = false;
        watcher.nextRevision = revision;
      } else {
        events ??= this.#events(revision, changes);
        this.#deliver(watcher, revision, events);
      }
    }
  }

  /** Delivers from the history until the watcher has seen everything or its receiver is congested. */
  catchUp(watcher: Watcher): void {
    if (watcher.isSynced || watcher.receiver.isCongested || !this.#watchers.has(watcher)) return;
    const { revision, compactRevision } = this.#queue();
    if (watcher.nextRevision < compactRevision) {
      this.#watchers.delete(watcher);
      watcher.receiver.compacted(watcher, compactRevision);
      return;
    }
    const isComplete = watcher.nextRevision > revision || this.#replayPage(watcher, revision);
    if (watcher.receiver.isCongested) return;
    // A long history is read in several turns; what is committed in between is part of it.
    if (!isComplete) setImmediate(() => this.catchUp(watcher));
    else {
      watcher.isSynced = true;
      watcher.receiver.caughtUp();
    }
  }

  /** True when the watcher has now been given all up to `revision`. */
  #replayPage(watcher: Watcher, revision: bigint): boolean {
    const { range, nextRevision } = watcher;
    const page = this.#database.changesSince(range, nextRevision, PAGE_ROWS, PAGE_BYTES);
    for (const [at, changes] of Map.groupBy(page.changes, (change) => change.revision)) {
      if (watcher.receiver.isCongested) return false;
      this.#deliver(watcher, at, this.#events(at, changes));
    }
    if (page.isComplete && watcher.nextRevision <= revision) watcher.nextRevision = revision + 1n;
    return page.isComplete;
  }

  #deliver(watcher: Watcher, revision: bigint, events: RevisionEvents): void {
    watcher.nextRevision = revision + 1n;
    const answer = events.answer((change) => wants(watcher, change), watcher);
    if (answer === undefined) return;
    watcher.hadEvents = true;
    watcher.receiver.deliver(watcher, answer);
  }

  #events(revision: bigint, changes: readonly Change[]): RevisionEvents {
    // The moment before may be compacted, though what stood there is not yet forgotten.
    const isKnown = revision - 1n >= this.#queue().compactRevision;
    const previous = ({ key }: Change) => (isKnown ? this.#database.readBefore(key, revision) : undefined);
    return new RevisionEvents(revision, changes, previous);
  }
}

function wants(watcher: WatcherOptions, { key, frame }: Change): boolean {
  return (frame === undefined ? watcher.wantsDeletes : watcher.wantsPuts) && isInRange(key, watcher.range);
}
