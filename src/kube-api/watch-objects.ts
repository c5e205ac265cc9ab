// Follows all objects of one kind: lists them in pages, then watches from there with bookmarks. A watch that ends goes on
// from where it was; what the server no longer knows (410) is listed again. Of each object only what `read` takes out of
// it is kept, one object at a time.
import type { IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { BackOff } from "../async/back-off.ts";
import { describeError, FlannelError, hasCode } from "../errors.ts";
import { tryParseJson } from "../json/try-parse-json.ts";
import { memberOf, textOf } from "../json/untyped-fields.ts";
import type { ApiClient, ApiRequest } from "./api-client.ts";
import { fromConnection, fromStatus, hasHttpStatus, type RequestSubject, retryAfterMs } from "./api-errors.ts";
import { arrayDropper } from "./drop-arrays.ts";
import { type ListTarget, listAll, MAX_OBJECT_BYTES, presentVersion } from "./list-objects.ts";
import { isLater } from "./resource-version.ts";

export interface WatchTarget<T> extends ListTarget<T> {
  /** What a watch accepts in place of whole objects; objects that come whole all the same are read too. */
  readonly watchAccept?: string;
}

export type WatchNews<T> =
  /** All there is at `resourceVersion`. */
  | {
      readonly type: "list";
      readonly objects: readonly T[];
      readonly resourceVersion: string;
      /** The server has gone back behind what it had told: its store was put back from an older copy. */
      readonly isOtherStore?: true;
    }
  | { readonly type: "put" | "delete"; readonly object: T; readonly resourceVersion: string }
  /** The server answers, and nothing else has changed up to here. */
  | { readonly type: "contact"; readonly resourceVersion: string }
  /** It does not, or no longer; trying again. */
  | { readonly type: "disconnected"; readonly reason: string; readonly isRefusal: boolean };

export interface WatchTimings {
  /** Silence after which the connection is taken for dead and the watch reopened. */
  readonly silenceMs: number;
  readonly backOffFirstMs: number;
  readonly backOffMaxMs: number;
  /** After this time everything is listed again when a watch ends; longer with many objects. */
  readonly listAgainMs: number;
}

/** 20 s and the time to find out that the server is away stay below 30 s. */
export const usualWatchTimings: WatchTimings = {
  silenceMs: 20_000,
  backOffFirstMs: 250,
  backOffMaxMs: 10_000,
  listAgainMs: 3_600_000,
};

/** Of more objects a list is taken as much seldomer: each host takes one, so the server's work grows with the square. */
const OBJECTS_LISTED_IN_TIME = 500;
/** After a connection that broke the list comes in a part of the time: the server's store may be another one. */
const BROKEN_SHARE = 0.25;
/** The server ends a watch by itself after this time, and another one half as long: not all at once. */
const WATCH_SECONDS = 300;
/** A watch that lived that long was one: no back-off after it. */
const GOOD_WATCH_MS = 5_000;

/** Ends only by `signal`. */
export async function* watchObjects<T>(
  client: ApiClient,
  target: WatchTarget<T>,
  signal: AbortSignal,
  timings: WatchTimings = usualWatchTimings,
): AsyncGenerator<WatchNews<T>, void, undefined> {
  const backOff = new BackOff({ firstMs: timings.backOffFirstMs, maxMs: timings.backOffMaxMs });
  const place: WatchPlace = { nextList: new NextList(timings.listAgainMs) };
  while (!signal.aborted) {
    const startedAtMs = performance.now();
    let failure: unknown;
    try {
      yield* followOnce(client, target, place, timings, signal);
    } catch (error) {
      failure = error;
    }
    if (signal.aborted) return;
    if (hasHttpStatus(failure, 410)) place.resumeAt = undefined;
    else if (failure !== undefined) {
      place.nextList.connectionBroke();
      yield toSign(failure);
    }
    if (performance.now() - startedAtMs > GOOD_WATCH_MS) backOff.reset();
    await delay(retryAfterMs(failure) ?? backOff.nextMs(), undefined, { signal }).catch(() => undefined);
  }
}

/** What is known of the server from one connection to the next. */
interface WatchPlace {
  /** Version to watch from; missing: everything is to be listed. */
  resumeAt?: string | undefined;
  /** The version received last, which a server whose store was put back from an older copy does not know. */
  last?: string;
  readonly nextList: NextList;
}

/** One connection: the list when it is due, then the watch, until the server ends it. Rejects when either fails. */
async function* followOnce<T>(
  client: ApiClient,
  target: WatchTarget<T>,
  place: WatchPlace,
  timings: WatchTimings,
  signal: AbortSignal,
): AsyncGenerator<WatchNews<T>, void, undefined> {
  // A watch from a version that the server has not reached yet is silent, not refused.
  const hasGoneBack = place.last !== undefined && isLater(place.last, await presentVersion(client, target, signal));
  let from = place.resumeAt;
  if (from === undefined || hasGoneBack || place.nextList.isDue) {
    const list = await listAll(client, target, signal);
    place.nextList.listed(list.objects.length);
    from = list.resourceVersion;
    place.resumeAt = from;
    place.last = from;
    yield hasGoneBack ? { ...list, isOtherStore: true } : list;
  }
  for await (const news of watchOnce(client, target, from, timings, signal)) {
    place.resumeAt = news.resourceVersion;
    place.last = news.resourceVersion;
    yield news;
  }
}

/**
 * When everything is listed again. A watch may leave something out without a sign: in a store that was put back and has
 * passed what was reported.
 */
class NextList {
  readonly #intervalMs: number;
  #inMs = 0;
  #atMs = Number.POSITIVE_INFINITY;

  /** With few objects. */
  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  get isDue(): boolean {
    return performance.now() >= this.#atMs;
  }

  listed(objects: number): void {
    this.#inMs = this.#intervalMs * Math.max(1, objects / OBJECTS_LISTED_IN_TIME);
    // Hosts that started together do not list together for ever.
    this.#atMs = performance.now() + this.#inMs * (0.75 + Math.random() / 4);
  }

  /** The server's store may be another one afterwards. */
  connectionBroke(): void {
    this.#atMs = Math.min(this.#atMs, performance.now() + this.#inMs * BROKEN_SHARE * Math.random());
  }
}

function toSign(failure: unknown): Extract<WatchNews<never>, { type: "disconnected" }> {
  return {
    type: "disconnected",
    reason: describeError(failure),
    isRefusal: hasCode(failure, "STORE_UNAUTHORIZED"),
  };
}

type ObjectNews<T> = Exclude<WatchNews<T>, { type: "list" | "disconnected" }>;

/** Ends when the server ends it or falls silent; rejects when it cannot be opened or breaks. */
async function* watchOnce<T>(
  client: ApiClient,
  target: WatchTarget<T>,
  from: string,
  { silenceMs }: WatchTimings,
  signal: AbortSignal,
): AsyncGenerator<ObjectNews<T>, void, undefined> {
  const { path, resource, fieldSelector, watchAccept, unread = [], read } = target;
  const query = {
    watch: "true",
    allowWatchBookmarks: "true",
    resourceVersion: from,
    timeoutSeconds: String(Math.round(WATCH_SECONDS * (0.5 + Math.random() / 2))),
    ...(fieldSelector !== undefined && { fieldSelector }),
  };
  const subject = { operation: `watch ${resource}`, verb: "watch", resource } as const;
  const server = client.access.description;
  const textOfEvent = arrayDropper(unread);
  const request = { ...subject, method: "GET", path, query } as const;
  const response = await openWatch(client, request, watchAccept, signal);
  yield { type: "contact", resourceVersion: from };
  for await (const line of linesOf(response, silenceMs, (error) => fromConnection(error, subject, server))) {
    const text = textOfEvent(line);
    if (text.trim() === "") continue;
    const news = newsOfEvent(tryParseJson(text), read, subject);
    if (news !== undefined) yield news;
  }
}

/** Undefined for an object that is not kept. Throws what the server reports, `{"type": "ERROR"}`. */
function newsOfEvent<T>(
  event: unknown,
  read: WatchTarget<T>["read"],
  subject: RequestSubject,
): ObjectNews<T> | undefined {
  const type = memberOf(event, "type");
  const object = memberOf(event, "object");
  if (type === "ERROR") throw fromStatus(Number(memberOf(object, "code")) || 500, JSON.stringify(object), subject);
  const resourceVersion = textOf(memberOf(memberOf(object, "metadata"), "resourceVersion"));
  if (resourceVersion === undefined) {
    throw new FlannelError("STORE_UNAVAILABLE", `${subject.operation}: an event without version`);
  }
  if (type === "BOOKMARK") return { type: "contact", resourceVersion };
  if (type !== "ADDED" && type !== "MODIFIED" && type !== "DELETED") return undefined;
  const kept = read(object);
  if (kept === undefined) return undefined;
  return { type: type === "DELETED" ? "delete" : "put", object: kept, resourceVersion };
}

/** Whole objects where the server has nothing of what is accepted. */
async function openWatch(
  client: ApiClient,
  request: ApiRequest,
  accept: string | undefined,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  if (accept === undefined) return await client.open(request, signal);
  try {
    return await client.open({ ...request, accept }, signal);
  } catch (error) {
    if (!hasHttpStatus(error, 406)) throw error;
    return await client.open(request, signal);
  }
}

/** The lines of an answer. Ends quietly at its end and after `silenceMs` without any: a half-open connection is silent. */
async function* linesOf(
  response: IncomingMessage,
  silenceMs: number,
  toFailure: (error: unknown) => FlannelError,
): AsyncGenerator<Uint8Array, void, undefined> {
  let isSilent = false;
  const timer = setTimeout(() => {
    isSilent = true;
    response.destroy();
  }, silenceMs);
  // Silence is judged here, at a time of our own.
  response.socket.setTimeout(0);
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  try {
    for await (const part of response) {
      timer.refresh();
      let chunk = part as Buffer;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10)) {
        const last = chunk.subarray(0, end);
        const line = pending.length === 0 ? last : Buffer.concat([...pending, last]);
        chunk = chunk.subarray(end + 1);
        pending = [];
        pendingBytes = 0;
        yield line;
      }
      if (chunk.length === 0) continue;
      pending.push(chunk);
      pendingBytes += chunk.length;
      if (pendingBytes > MAX_OBJECT_BYTES) throw new Error(`an event is longer than ${MAX_OBJECT_BYTES} bytes`);
    }
  } catch (error) {
    if (!isSilent) throw toFailure(error);
  } finally {
    clearTimeout(timer);
    response.destroy();
  }
}
