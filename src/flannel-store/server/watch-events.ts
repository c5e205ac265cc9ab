// The events of one revision on their way to watchers: each is encoded once, however many want it, and so is the whole
// answer where they want the same.
import { type ResponseHeader, WatchResponse } from "../../etcd-api/etcd.ts";
import { noteLargeBuffer } from "../../sys/large-buffers.ts";
import { frameOfPieces } from "../grpc/grpc-frames.ts";
import type { Change } from "./change.ts";
import { encodeDeleteEvent, encodePutEvent } from "./key-value-frames.ts";

/** What fits a message of etcd's usual limits. */
const FRAGMENT_BYTES = 1_536 * 1024;

/** Of what stood in the changed keys before. With more, as after a compaction, the rest of the events comes without. */
const MAX_PREVIOUS_BYTES = 8 * 1024 * 1024;

/** What some watchers receive of one revision. */
export class WatchAnswer {
  readonly revision: bigint;
  /** The field `events` of the answers; more than one when cut into fragments. */
  readonly #parts: readonly (readonly Uint8Array[])[];
  readonly #frames = new Map<bigint, readonly Buffer[]>();

  constructor(revision: bigint, parts: readonly (readonly Uint8Array[])[]) {
    this.revision = revision;
    this.#parts = parts;
  }

  /** Ready to be sent, for every watcher with this id: the bytes are shared and must not be changed. */
  framesFor(watchId: bigint, header: () => ResponseHeader): readonly Buffer[] {
    const known = this.#frames.get(watchId);
    if (known !== undefined) return known;
    const frames = this.#parts.map((events, index) => {
      const fragment = index < this.#parts.length - 1;
      const head = WatchResponse.fromPartial({ header: header(), watchId, fragment });
      // Fields of a message may be put together from pieces.
      return frameOfPieces([WatchResponse.encode(head).finish(), ...events]);
    });
    this.#frames.set(watchId, frames);
    return frames;
  }
}

/** All changes of one revision that some watchers may receive. */
export class RevisionEvents {
  readonly #revision: bigint;
  readonly #changes: readonly Change[];
  readonly #previous: (change: Change) => Uint8Array | undefined;
  readonly #events = { plain: new Map<Change, Uint8Array>(), withPrevious: new Map<Change, Uint8Array>() };
  readonly #complete = new Map<boolean, WatchAnswer>();
  #previousBytes = 0;

  /** @param previous the frame of what stood there before a change, where that is still known */
  constructor(revision: bigint, changes: readonly Change[], previous: (change: Change) => Uint8Array | undefined) {
    this.#revision = revision;
    this.#changes = changes;
    this.#previous = previous;
  }

  /** Undefined when nothing passes `wants`. */
  answer(
    wants: (change: Change) => boolean,
    { wantsPrevious, wantsFragments }: { readonly wantsPrevious: boolean; readonly wantsFragments: boolean },
  ): WatchAnswer | undefined {
    const wanted = this.#changes.filter(wants);
    if (wanted.length === 0) return undefined;
    const isComplete = wanted.length === this.#changes.length && !wantsFragments;
    const known = isComplete ? this.#complete.get(wantsPrevious) : undefined;
    if (known !== undefined) return known;
    const events = wanted.map((change) => this.#event(change, wantsPrevious));
    const answer = new WatchAnswer(this.#revision, wantsFragments ? fragments(events) : [events]);
    if (isComplete) this.#complete.set(wantsPrevious, answer);
    return answer;
  }

  #event(change: Change, wantsPrevious: boolean): Uint8Array {
    const events = wantsPrevious ? this.#events.withPrevious : this.#events.plain;
    const known = events.get(change);
    if (known !== undefined) return known;
    const event = encodeEvent(change, wantsPrevious ? this.#before(change) : undefined);
    noteLargeBuffer(event.length);
    events.set(change, event);
    return event;
  }

  #before(change: Change): Uint8Array | undefined {
    if (this.#previousBytes >= MAX_PREVIOUS_BYTES) return undefined;
    const frame = this.#previous(change);
    noteLargeBuffer(frame?.length ?? 0);
    this.#previousBytes += frame?.length ?? 0;
    return frame;
  }
}

function encodeEvent({ key, revision, frame: put }: Change, previous: Uint8Array | undefined): Uint8Array {
  return put === undefined ? encodeDeleteEvent(key, revision, previous) : encodePutEvent(put, previous);
}

function fragments(events: readonly Uint8Array[]): Uint8Array[][] {
  const groups: Uint8Array[][] = [[]];
  let bytes = 0;
  for (const event of events) {
    if (bytes > 0 && bytes + event.length > FRAGMENT_BYTES) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)?.push(event);
    bytes += event.length;
  }
  return groups;
}
