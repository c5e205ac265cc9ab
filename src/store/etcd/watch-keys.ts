// Watches a range of keys without ever losing an event: the revision to resume from advances only by what was
// delivered. Reconnects by itself; only a compaction ends it, since then the caller must read everything anew.
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { BackOff } from "../../async/back-off.ts";
import { describeError, FlannelError } from "../../errors.ts";
import { type Event, WatchRequest, type WatchResponse } from "../../etcd-api/etcd.ts";
import type { KeyRange } from "../../etcd-api/key-space.ts";
import type { EtcdConnection, EtcdStream } from "./etcd-connection.ts";
import { fromGrpc } from "./etcd-errors.ts";
import { readKey } from "./operations.ts";
import { methods, readStream } from "./rpc.ts";

export type WatchItem =
  | { readonly type: "events"; readonly events: readonly Event[]; readonly revision: bigint }
  /** The server answered; everything up to `revision` has been delivered. */
  | { readonly type: "contact"; readonly revision: bigint }
  /** Once per outage, when the stream broke. Reconnecting goes on. */
  | { readonly type: "disconnected"; readonly reason: string }
  /** The last item: events were lost to compaction, or the store is another one or an older copy of itself. */
  | { readonly type: "compacted"; readonly isOtherStore: boolean };

type WatchStream = ClientDuplexStream<WatchRequest, WatchResponse>;

/** Answers to a request for progress carry no watch. */
const NO_WATCH_ID = -1n;

/**
 * Events of `range` from `startRevision` on (at least 1n), in order. `clusterId` is that of the store the revision is
 * from; 0n takes the first store that answers. Ends after "compacted" or when `signal` aborts; never throws.
 */
export async function* watchKeys(
  connection: EtcdConnection,
  range: KeyRange,
  startRevision: bigint,
  signal: AbortSignal,
  clusterId = 0n,
): AsyncGenerator<WatchItem, void, undefined> {
  const backOff = new BackOff({ firstMs: 100, maxMs: 5_000 });
  const known = { clusterId };
  let next = startRevision;
  let isConnected = true;
  while (!signal.aborted) {
    try {
      for await (const item of watchOnce(connection, range, next, known, signal)) {
        if (item.type === "events" || item.type === "contact") {
          next = item.resumeAt;
          isConnected = true;
          backOff.reset();
        }
        yield item;
        if (item.type === "compacted") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (isConnected) yield { type: "disconnected", reason: describeError(error) };
      isConnected = false;
      await backOff.wait(signal).catch(() => undefined);
    }
  }
}

type StreamItem =
  | (Extract<WatchItem, { type: "events" | "contact" }> & { readonly resumeAt: bigint })
  | Extract<WatchItem, { type: "compacted" }>;

/** One stream, until it breaks (throws) or the watch is compacted. */
async function* watchOnce(
  connection: EtcdConnection,
  range: KeyRange,
  startRevision: bigint,
  known: { clusterId: bigint },
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
        if (response.compactRevision > 0n) yield { type: "compacted", isOtherStore: isOtherStore(response, known) };
        else throw cancelledByServer(response, opened);
        return;
      }
      if (response.created) {
        timers.created();
        if (isOtherStore(response, known) || (await isOlderCopy(connection, range, response, next, signal))) {
          yield { type: "compacted", isOtherStore: true };
          return;
        }
        known.clusterId = response.header?.clusterId ?? 0n;
      }
      next = resumeRevision(response, next);
      if (response.events.length === 0) yield { type: "contact", revision: next - 1n, resumeAt: next };
      else yield { type: "events", events: response.events, revision: lastRevision(response), resumeAt: next };
    }
    throw new FlannelError("STORE_UNAVAILABLE", `etcd ${url} ended the watch`, { retryable: true });
  } catch (error) {
    opened.leaveEndpoint();
    if (timers.isOverdue) throw new FlannelError("STORE_UNAVAILABLE", `etcd ${url} does not answer`, { cause: error });
    throw fromGrpc(error, "watch", url);
  } finally {
    timers.stop();
    stream.cancel();
  }
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

/**
 * A store that was made anew behind the same address counts its own revisions: it may be past ours without our ever having
 * seen what is in it.
 */
function isOtherStore({ header }: WatchResponse, known: { readonly clusterId: bigint }): boolean {
  return known.clusterId !== 0n && header !== undefined && header.clusterId !== known.clusterId;
}

/** True when the store has not even come as far as what we already saw: its files were replaced by older ones. */
async function isOlderCopy(
  connection: EtcdConnection,
  range: KeyRange,
  created: WatchResponse,
  next: bigint,
  signal: AbortSignal,
): Promise<boolean> {
  if ((created.header?.revision ?? 0n) + 1n >= next) return false;
  // A member may just lag behind: only a read through the leader tells.
  const { revision } = await readKey(
    connection,
    Buffer.from(range.start).toString(),
    "read the store's revision",
    signal,
  );
  return revision + 1n < next;
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
