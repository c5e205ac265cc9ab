// Answers Range calls within the budget of memory: what is large is read and sent page by page, at one revision, as fast as
// the client takes it.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { RangeRequest } from "../../etcd-api/etcd.ts";
import { noteLargeBuffer } from "../../sys/large-buffers.ts";
import type { GrpcCall } from "../grpc/grpc-call.ts";
import { grpcStatus, RpcError } from "../grpc/rpc-error.ts";
import type { EmbeddedStore } from "./embedded-store.ts";
import { arrangeOne, isInKeyOrder } from "./evaluate-range.ts";
import type { KeyRange } from "./key-range.ts";
import { encodeRangeHead, encodeRangeResponse, encodeRangeTail } from "./key-value-frames.ts";

/** What is made at once: the network of flannel with 10,000 hosts has half of it. */
const MAX_DIRECT_BYTES = 4 * 1024 * 1024;
const PAGE_BYTES = 256 * 1024;
/** A page ends behind the key that fills it; a key with its value has at most so many bytes more. */
const MAX_FRAME_BYTES = 1_600 * 1024;
/** Looked at between two turns of the event loop. */
const SCANNED_BYTES = 1024 * 1024;

/** `request` must have passed checkRange. Rejects with the refusals of `checkRevision`. */
export async function answerRange(store: EmbeddedStore, request: RangeRequest, call: GrpcCall): Promise<void> {
  // One key fits into what a request may bring.
  if (request.rangeEnd.length === 0) {
    call.end(encodeRangeResponse(store.range(request)));
    return;
  }
  for (;;) {
    const bytes = Number(store.measureRange(request).bytes);
    if (bytes > MAX_DIRECT_BYTES) {
      await answerInPages(store, request, call);
      return;
    }
    const { revision } = store;
    const portion = await call.reserve(bytes);
    if (portion === undefined) return;
    // Others may have written while this waited for room.
    if (revision === store.revision || Number(store.measureRange(request).bytes) <= bytes) {
      call.end(encodeRangeResponse(store.range(request)), portion);
      return;
    }
    portion.release();
  }
}

async function answerInPages(store: EmbeddedStore, request: RangeRequest, call: GrpcCall): Promise<void> {
  if (!isInKeyOrder(request)) throw cannotSort();
  const { range, limit, isAsStored } = store.readOf(request);
  const revision = request.revision > 0n ? request.revision : store.revision;
  const head = encodeRangeHead(store.header());
  // What is read until the end stays, whatever is compacted meanwhile.
  using _kept = store.compactor.keep(revision);
  const reader = (upTo: bigint) => new PageReader(store, request, revision, upTo);
  const count = store.countAt(range, revision);
  const { bytes, isCut } = isAsStored
    ? measureStored(store, request, count)
    : await scans.next(() => measurePages(reader(limit === 0n ? 0n : limit + 1n), limit, call));
  if (call.isEnded) return;
  const tail = encodeRangeTail(isCut, count);
  const totalBytes = head.length + bytes + tail.length;
  await call.endPaged({
    totalBytes,
    maxPageBytes: PAGE_BYTES + MAX_FRAME_BYTES,
    next: pieces(head, reader(limit), tail),
  });
}

/** One after the other; nothing of what was given is held. (A generator would hold the last one while it waits.) */
function pieces(head: Uint8Array, reader: PageReader, tail: Uint8Array): () => Uint8Array | undefined {
  let step: "head" | "pages" | "end" = "head";
  return () => {
    if (step === "end") return undefined;
    if (step === "head") {
      step = "pages";
      return head;
    }
    const page = reader.next();
    if (page !== undefined) return Buffer.concat(page);
    step = "end";
    return tail;
  };
}

/** Of an answer: its length stands before it on the wire. */
interface AnswerSize {
  readonly bytes: number;
  /** There are more keys than the limit lets in. */
  readonly isCut: boolean;
}

function measureStored(store: EmbeddedStore, request: RangeRequest, count: bigint): AnswerSize {
  const measure = store.measureRange(request);
  return { bytes: Number(measure.bytes), isCut: count > measure.count };
}

/** Lets one after the other. */
class Turns {
  #last: Promise<unknown> = Promise.resolve();

  next<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

/** Looks at all of it once: one answer at a time. */
const scans = new Turns();

async function measurePages(reader: PageReader, limit: bigint, call: GrpcCall): Promise<AnswerSize> {
  let bytes = 0;
  let count = 0n;
  for (let page = reader.next(); page !== undefined; page = reader.next()) {
    for (const piece of page) {
      count++;
      if (limit === 0n || count <= limit) bytes += piece.length;
    }
    await nextTurn();
    if (call.isEnded) break;
  }
  return { bytes, isCut: limit > 0n && count > limit };
}

/** Reads the keys of an answer one page after the other. Between two pages nothing of the database is in use. */
class PageReader {
  readonly #store: EmbeddedStore;
  readonly #request: RangeRequest;
  readonly #revision: bigint;
  #rest: KeyRange | undefined;
  /** Negative: without end. */
  #left: bigint;

  /** At most `upTo` keys, 0n: all. */
  constructor(store: EmbeddedStore, request: RangeRequest, revision: bigint, upTo: bigint) {
    this.#store = store;
    this.#request = request;
    this.#revision = revision;
    this.#rest = store.readOf(request).range;
    this.#left = upTo === 0n ? -1n : upTo;
  }

  /** Undefined at the end. There may be nothing in a page. */
  next(): Uint8Array[] | undefined {
    const range = this.#rest;
    if (range === undefined || this.#left === 0n) return undefined;
    const page: Uint8Array[] = [];
    let [bytes, scanned] = [0, 0];
    let last: Uint8Array | undefined;
    for (const { key, frame } of this.#store.framesAt(range, this.#revision)) {
      last = key;
      scanned += frame.length;
      const piece = arrangeOne(frame, this.#request);
      if (piece !== undefined) {
        page.push(piece);
        bytes += piece.length;
        this.#left--;
      }
      if (bytes >= PAGE_BYTES || scanned >= SCANNED_BYTES || this.#left === 0n) break;
    }
    noteLargeBuffer(scanned);
    this.#rest = last && { ...range, start: Buffer.concat([last, Uint8Array.of(0)]) };
    return page;
  }
}

function cannotSort(): RpcError {
  return new RpcError(
    grpcStatus.resourceExhausted,
    `flannel-store: more than ${MAX_DIRECT_BYTES / 1024 ** 2} MiB would have to be sorted: ask for the keys in their order, or for fewer of them`,
  );
}
