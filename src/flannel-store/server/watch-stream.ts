// One Watch call: many watchers on one stream, created and cancelled by the client.
import {
  type ResponseHeader,
  type WatchCreateRequest,
  WatchCreateRequest_FilterType,
  type WatchRequest,
  WatchResponse,
} from "../../etcd-api/etcd.ts";
import type { GrpcCall } from "../grpc/grpc-call.ts";
import { isInRange, type KeyRange, rangeFromWire } from "./key-range.ts";
import type { WatchAnswer } from "./watch-events.ts";
import type { Watcher, WatchHub, WatchReceiver } from "./watch-hub.ts";

/** Answers that belong to no watcher. */
const NO_WATCH_ID = -1n;

export interface WatchStreamOptions {
  readonly call: GrpcCall;
  readonly hub: WatchHub;
  /** Counts a watch with keys of so many bytes; undefined when it must be refused. */
  readonly admit: (keyBytes: number) => Disposable | undefined;
  /** The header of an answer; without `revision` the store's present one. */
  readonly header: (revision?: bigint) => ResponseHeader;
}

export class WatchStream implements WatchReceiver {
  readonly #call: GrpcCall;
  readonly #hub: WatchHub;
  readonly #header: (revision?: bigint) => ResponseHeader;
  readonly #admit: WatchStreamOptions["admit"];
  readonly #watchers = new Map<bigint, { readonly watcher: Watcher; readonly counted: Disposable }>();
  #nextId = 0n;
  #owesProgress = false;

  constructor({ call, hub, header, admit }: WatchStreamOptions) {
    this.#call = call;
    this.#admit = admit;
    this.#hub = hub;
    this.#header = header;
    call.onDrain(() => this.#resume());
    call.onClose(() => this.close());
  }

  get isCongested(): boolean {
    return this.#call.isCongested;
  }

  onRequest({ createRequest, cancelRequest, progressRequest }: WatchRequest): void {
    if (createRequest !== undefined) this.#create(createRequest);
    else if (cancelRequest !== undefined) this.#cancel(cancelRequest.watchId);
    else if (progressRequest !== undefined) this.#requestProgress();
    if (this.isCongested) this.#call.pauseReading();
  }

  close(): void {
    for (const { watcher, counted } of this.#watchers.values()) {
      this.#hub.remove(watcher);
      counted[Symbol.dispose]();
    }
    this.#watchers.clear();
  }

  deliver({ id }: Watcher, answer: WatchAnswer): void {
    const header = () => this.#header(answer.revision);
    for (const frame of answer.framesFor(id, header)) this.#call.sendFrame(frame);
  }

  compacted(watcher: Watcher, compactRevision: bigint): void {
    // As in etcd its id stays taken until the client cancels it.
    watcher.isSynced = true;
    const { id: watchId } = watcher;
    this.#send({ watchId, canceled: true, compactRevision, header: this.#header(0n) });
  }

  caughtUp(): void {
    if (this.#owesProgress && this.#isSynced()) this.#sendProgress();
  }

  /** To watchers that asked to hear from us now and then, and have not since the last time. */
  notifyProgress(): void {
    if (this.isCongested) return;
    for (const { watcher } of this.#watchers.values()) {
      if (watcher.wantsProgress && watcher.isSynced && !watcher.hadEvents) {
        this.#send({ watchId: watcher.id, header: this.#header() });
      }
      watcher.hadEvents = false;
    }
  }

  #create(request: WatchCreateRequest): void {
    const range = watchedRange(request);
    const refusal = this.#refusal(request, range);
    const counted = refusal === undefined ? this.#admit(range.start.length + (range.end?.length ?? 0)) : undefined;
    if (counted === undefined) {
      const cancelReason = refusal ?? "etcdserver: too many requests";
      this.#send({ watchId: NO_WATCH_ID, created: true, canceled: true, cancelReason, header: this.#header() });
      return;
    }
    const id = this.#chooseId(request.watchId);
    const watcher = this.#hub.add(
      {
        id,
        range,
        wantsPuts: !request.filters.includes(WatchCreateRequest_FilterType.NOPUT),
        wantsDeletes: !request.filters.includes(WatchCreateRequest_FilterType.NODELETE),
        wantsPrevious: request.prevKv,
        wantsFragments: request.fragment,
        wantsProgress: request.progressNotify,
        receiver: this,
      },
      request.startRevision > 0n ? request.startRevision : this.#header().revision + 1n,
    );
    this.#watchers.set(id, { watcher, counted });
    this.#send({ watchId: id, created: true, header: this.#header() });
    this.#hub.catchUp(watcher);
  }

  /** Why there can be no such watcher, in etcd's words. */
  #refusal(request: WatchCreateRequest, { start, end }: KeyRange): string | undefined {
    if (end !== undefined && !isInRange(start, { start, end })) return "mvcc: watcher range is empty";
    if (request.watchId !== 0n && this.#watchers.has(request.watchId)) {
      return "mvcc: duplicate watch ID provided on the WatchStream";
    }
    return undefined;
  }

  #chooseId(wanted: bigint): bigint {
    if (wanted !== 0n) return wanted;
    while (this.#watchers.has(this.#nextId)) this.#nextId++;
    return this.#nextId++;
  }

  #cancel(watchId: bigint): void {
    const known = this.#watchers.get(watchId);
    if (known === undefined) return;
    this.#hub.remove(known.watcher);
    known.counted[Symbol.dispose]();
    this.#watchers.delete(watchId);
    this.#send({ watchId, canceled: true, header: this.#header() });
  }

  /** Answered when everything up to the present has been delivered: the answer says that it has. */
  #requestProgress(): void {
    if (this.#isSynced()) this.#sendProgress();
    else this.#owesProgress = true;
  }

  #sendProgress(): void {
    this.#owesProgress = false;
    this.#send({ watchId: NO_WATCH_ID, header: this.#header() });
  }

  #isSynced(): boolean {
    return !this.isCongested && [...this.#watchers.values()].every(({ watcher }) => watcher.isSynced);
  }

  #resume(): void {
    for (const { watcher } of this.#watchers.values()) this.#hub.catchUp(watcher);
    this.caughtUp();
  }

  #send(response: Partial<WatchResponse>): void {
    this.#call.send(WatchResponse.encode({ ...emptyResponse, ...response }).finish());
  }
}

const emptyResponse = WatchResponse.fromPartial({});

/** An empty key means the smallest one. Copied: what has come with it is not kept. */
function watchedRange({ key, rangeEnd }: WatchCreateRequest): KeyRange {
  return rangeFromWire(key.length === 0 ? Uint8Array.of(0) : Uint8Array.from(key), Uint8Array.from(rangeEnd));
}
