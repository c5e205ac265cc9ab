// Watches a range of keys without ever losing an event: the revision to resume from advances only by what was
// delivered. Reconnects by itself; only a compaction ends it, since then the caller must read everything again.
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { BackOff } from "../../async/back-off.ts";
import { describeError, FlannelError, hasCode } from "../../errors.ts";
import { type Event, Event_EventType, WatchRequest, type WatchResponse } from "../../etcd-api/etcd.ts";
import type { KeyRange } from "../../etcd-api/key-space.ts";
import type { EtcdConnection, EtcdStream } from "./etcd-connection.ts";
import { OutageReasons } from "./outage-reasons.ts";
import { methods, readStream } from "./rpc.ts";
import type { StorePast } from "./store-past.ts";

export type WatchItem =
  | { readonly type: "events"; readonly events: readonly Event[]; readonly revision: bigint }
  /** The server answered; everything up to `revision` has been delivered. `isNew`: a watch was opened just now. */
  | { readonly type: "contact"; readonly revision: bigint; readonly isNew?: boolean }
  /** When the stream broke, and for each other reason while reconnecting goes on. */
  | { readonly type: "disconnected"; readonly reason: string; readonly isRefusal?: boolean }
  /** The last item: events were lost to compaction, or the store is another one or an older copy of itself. */
  | { readonly type: "compacted"; readonly isOtherStore: boolean };

type WatchStream = ClientDuplexStream<WatchRequest, WatchResponse>;

/** Answers to a request for progress carry no watch. */
const NO_WATCH_ID = -1n;

export interface WatchStart {
  readonly range: KeyRange;
  /** At least 1n. */
  readonly startRevision: bigint;
  /** Of the store that the revision is from; kept up to date with what is delivered. */
  readonly past: StorePast;
}

/** Events from `startRevision` on, in order. Ends after "compacted" or when `signal` aborts; never throws. */
export async function* watchKeys(
  connection: EtcdConnection,
  start: WatchStart,
  signal: AbortSignal,
): AsyncGenerator<WatchItem, void, undefined> {
  const backOff = new BackOff({ firstMs: 100, maxMs: 5_000 });
  const reasons = new OutageReasons();
  const onProgress = () => {
    reasons.clear();
    backOff.reset();
  };
  const place = { ...start };
  while (!signal.aborted) {
    try {
      return yield* followStream(connection, place, onProgress, signal);
    } catch (error) {
      if (signal.aborted) return;
      const outage = await outageOf(connection, error, signal);
      if (reasons.isNew(outage.reason)) yield outage;
      await backOff.wait(signal).catch(() => undefined);
    }
  }
}

/** One stream: `place` moves on with what is delivered. Returns after "compacted", rejects when the stream breaks. */
async function* followStream(
  connection: EtcdConnection,
  place: { -readonly [K in keyof WatchStart]: WatchStart[K] },
  onProgress: () => void,
  signal: AbortSignal,
): AsyncGenerator<WatchItem, void, undefined> {
  for await (const item of watchOnce(connection, place, signal)) {
    if (item.type !== "compacted") {
      place.startRevision = item.resumeAt;
      onProgress();
    }
    yield item;
  }
}

async function outageOf(
  { members }: EtcdConnection,
  error: unknown,
  signal: AbortSignal,
): Promise<Extract<WatchItem, { type: "disconnected" }>> {
  const removal = await members.whyGone(signal);
  const isRefusal = removal !== undefined || hasCode(error, "STORE_UNAUTHORIZED");
  return { type: "disconnected", reason: removal ?? describeError(error), ...(isRefusal && { isRefusal }) };
}

type StreamItem =
  | (Extract<WatchItem, { type: "events" | "contact" }> & { readonly resumeAt: bigint })
  | Extract<WatchItem, { type: "compacted" }>;

/** One stream, until it breaks (throws) or the watch is compacted. */
async function* watchOnce(
  connection: EtcdConnection,
  { range, startRevision, past }: WatchStart,
  signal: AbortSignal,
): AsyncGenerator<StreamItem, void, undefined> {
  const opened = await connection.openStream(methods.watch, signal);
  const { stream, url } = opened;
  const timers = new StreamTimers(stream, connection.timings.callTimeoutMs, connection.timings.progressIntervalMs);
  let next = startRevision;
  try {
    stream.write(createRequest(range, startRevision));
    for await (const response of readStream(stream)) {
      if (response.canceled) {
        // Whether it is another store as well is for the caller to tell, who reads everything again.
        if (response.compactRevision > 0n) yield { type: "compacted", isOtherStore: false };
        else throw cancelledByServer(response, opened);
        return;
      }
      if (response.created) {
        timers.created();
        const place = { key: range.start, followedTo: next - 1n };
        if (await past.isMissingIn(connection, response.header, place, signal)) {
          yield { type: "compacted", isOtherStore: true };
          return;
        }
        connection.members.learn(response.header?.memberId ?? 0n, url, signal);
      }
      next = resumeRevision(response, next);
      yield itemOf(response, next, past);
    }
    throw new FlannelError("STORE_UNAVAILABLE", `etcd ${url} ended the watch`, { retryable: true });
  } catch (error) {
    opened.leaveEndpoint();
    if (timers.isOverdue) throw new FlannelError("STORE_UNAVAILABLE", `etcd ${url} does not answer`, { cause: error });
    throw connection.toError(error, "watch the leases", url);
  } finally {
    timers.stop();
    stream.cancel();
  }
}

/** What a watch that was not canceled tells. */
function itemOf(response: WatchResponse, resumeAt: bigint, past: StorePast): StreamItem {
  const { events, created: isNew } = response;
  if (events.length === 0) return { type: "contact", revision: resumeAt - 1n, resumeAt, ...(isNew && { isNew }) };
  const lastPut = events.findLast(({ type }) => type === Event_EventType.PUT)?.kv;
  if (lastPut !== undefined) past.followPut(lastPut);
  return { type: "events", events, revision: lastRevision(response), resumeAt };
}

function createRequest({ start, end }: KeyRange, startRevision: bigint): WatchRequest {
  return WatchRequest.fromPartial({
    createRequest: { key: start, rangeEnd: end, startRevision, progressNotify: true, fragment: true },
  });
}

/**
 * Where to resume after this answer. Of a fragmented answer the rest may lack events of the same revision, which are
 * then delivered again. An answer to our own request for progress may overtake events (etcd issue 15220) and says
 * nothing about what was delivered.
 */
function resumeRevision(response: WatchResponse, next: bigint): bigint {
  let candidate = next;
  if (response.events.length > 0) candidate = lastRevision(response) + (response.fragment ? 0n : 1n);
  else if (!response.created && response.watchId !== NO_WATCH_ID) candidate = (response.header?.revision ?? 0n) + 1n;
  return candidate > next ? candidate : next;
}

function lastRevision(response: WatchResponse): bigint {
  return response.events.at(-1)?.kv?.modRevision ?? 0n;
}

function cancelledByServer(
  { cancelReason }: WatchResponse,
  stream: EtcdStream<WatchRequest, WatchResponse>,
): FlannelError {
  const isTokenProblem = /invalid auth token|permission denied|user name is empty/.test(cancelReason);
  if (isTokenProblem) stream.rejectToken();
  const code = isTokenProblem ? "STORE_UNAUTHORIZED" : "STORE_UNAVAILABLE";
  const reason = cancelReason === "" ? "no reason given" : cancelReason;
  return new FlannelError(code, `etcd ${stream.url} cancelled the watch: ${reason}`, { retryable: true });
}

/** The two timers of a watch stream: the creation must be confirmed in time, and progress is asked for regularly. */
class StreamTimers {
  isOverdue = false;
  readonly #stream: WatchStream;
  readonly #progressIntervalMs: number;
  #timer: NodeJS.Timeout;

  constructor(stream: WatchStream, creationTimeoutMs: number, progressIntervalMs: number) {
    this.#stream = stream;
    this.#progressIntervalMs = progressIntervalMs;
    this.#timer = setTimeout(() => {
      this.isOverdue = true;
      stream.cancel();
    }, creationTimeoutMs);
  }

  created(): void {
    this.stop();
    this.#timer = setTimeout(() => {
      this.#stream.write(WatchRequest.fromPartial({ progressRequest: {} }));
      this.created();
    }, this.#progressIntervalMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
