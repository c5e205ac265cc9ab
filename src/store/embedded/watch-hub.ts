// Hands committed changes to watchers. A watcher whose receiver is congested is left behind and later caught up from
// the history in the database, so that it costs nobody else time or memory.
import { type Event, Event_EventType, Event as EventMessage, WatchResponse } from "../etcd/protocol/etcd.ts";
import type { CommitQueue, CommittedRevision } from "./commit-queue.ts";
import type { Database } from "./database.ts";
import { isInRange, type KeyRange } from "./key-range.ts";

/** Events of one revision, encoded as the field `events` of a WatchResponse; `parts` is cut for a fragmented answer. */
export interface EncodedEvents {
  readonly revision: bigint;
  readonly parts: readonly Uint8Array[];
}

/** Where the events of some watchers go: one gRPC stream. */
export interface WatchReceiver {
  /** True: deliver nothing now; `WatchHub.resume` is called when there is room again. */
  readonly isCongested: boolean;
  deliver(watcher: Watcher, events: EncodedEvents): void;
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
const PAGE_BYTES = 4 * 1024 * 1024;
/** What fits a message of etcd's usual limits. */
const FRAGMENT_BYTES = 1_536 * 1024;

export class WatchHub {
  readonly #database: Database;
  readonly #queue: () => Pick<CommitQueue, "revision" | "compactRevision">;
  readonly #watchers = new Set<Watcher>();

  /** @param queue says which revision has been reached; asked late, since it publishes to this hub */
  constructor(database: Database, queue: () => Pick<CommitQueue, "revision" | "compactRevision">) {
    this.#database = database;
    this.#queue = queue;
  }

  get size(): number {
    return this.#watchers.size;
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

  publish({ revision, events }: CommittedRevision): void {
    const shared = new SharedEncoding(revision, events);
    for (const watcher of this.#watchers) {
      if (!watcher.isSynced || revision < watcher.nextRevision) continue;
      if (!events.some((event) => wants(watcher, event))) continue;
      if (watcher.receiver.isCongested) {
        watcher.isSynced = false;
        watcher.nextRevision = revision;
      } else {
        watcher.hadEvents = true;
        watcher.nextRevision = revision + 1n;
        watcher.receiver.deliver(watcher, shared.for(watcher));
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
    for (const [at, events] of Map.groupBy(page.events, ({ kv }) => kv?.modRevision ?? 0n)) {
      if (watcher.receiver.isCongested) return false;
      watcher.nextRevision = at + 1n;
      const wanted = events.filter((event) => wants(watcher, event));
      if (wanted.length === 0) continue;
      watcher.hadEvents = true;
      const full = watcher.wantsPrevious ? wanted.map((event) => this.#withPrevious(event)) : wanted;
      watcher.receiver.deliver(watcher, encode(at, full, watcher.wantsPrevious, watcher.wantsFragments));
    }
    if (page.isComplete && watcher.nextRevision <= revision) watcher.nextRevision = revision + 1n;
    return page.isComplete;
  }

  #withPrevious(event: Event): Event {
    const { kv } = event;
    // The moment before may be compacted, though what stood there is not yet forgotten.
    if (kv === undefined || kv.modRevision - 1n < this.#queue().compactRevision) return event;
    return { ...event, prevKv: this.#database.readBefore(kv.key, kv.modRevision) };
  }
}

function wants(watcher: WatcherOptions, { type, kv }: Event): boolean {
  if (kv === undefined || !(type === Event_EventType.PUT ? watcher.wantsPuts : watcher.wantsDeletes)) return false;
  return isInRange(kv.key, watcher.range);
}

/** Most watchers want all events of a revision: those are encoded once. */
class SharedEncoding {
  readonly #revision: bigint;
  readonly #events: readonly Event[];
  readonly #known = new Map<boolean, EncodedEvents>();

  constructor(revision: bigint, events: readonly Event[]) {
    this.#revision = revision;
    this.#events = events;
  }

  for(watcher: WatcherOptions): EncodedEvents {
    const wanted = this.#events.filter((event) => wants(watcher, event));
    const { wantsPrevious, wantsFragments } = watcher;
    if (wantsFragments || wanted.length < this.#events.length) {
      return encode(this.#revision, wanted, wantsPrevious, wantsFragments);
    }
    const known = this.#known.get(wantsPrevious) ?? encode(this.#revision, wanted, wantsPrevious, false);
    this.#known.set(wantsPrevious, known);
    return known;
  }
}

function encode(
  revision: bigint,
  events: readonly Event[],
  wantsPrevious: boolean,
  wantsFragments: boolean,
): EncodedEvents {
  const shown = wantsPrevious ? events : events.map((event) => ({ ...event, prevKv: undefined }));
  const groups = wantsFragments ? fragments(shown) : [[...shown]];
  const parts = groups.map((group) => WatchResponse.encode(WatchResponse.fromPartial({ events: group })).finish());
  return { revision, parts };
}

function fragments(events: readonly Event[]): Event[][] {
  const groups: Event[][] = [[]];
  let bytes = 0;
  for (const event of events) {
    const eventBytes = EventMessage.encode(event).finish().length;
    if (bytes > 0 && bytes + eventBytes > FRAGMENT_BYTES) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)?.push(event);
    bytes += eventBytes;
  }
  return groups;
}
