// Reads and changes rtnetlink objects of one network namespace, and tells who follows of their changes.
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { FlannelError, hasCode } from "../../errors.ts";
import type { Address } from "../../ip/address.ts";
import { errnoName, fromErrno, hasErrno } from "../../sys/errno.ts";
import { type Acknowledgement, decodeAcknowledgement, type MessageFrame, messagesIn } from "../message-frames.ts";
import { MessageWriter } from "../message-writer.ts";
import { NetlinkSocket } from "../netlink-socket.ts";
import type { NetlinkRequest } from "../request.ts";
import { NETLINK_ROUTE, nlm, nlmsg, rtn } from "../uapi.ts";
import { objectCodecs } from "./codec.ts";
import type { ObjectKind, ObjectKinds, RouteMessage } from "./messages.ts";
import { type MonitorOptions, RtnetlinkMonitor } from "./monitor.ts";
import type { DumpFilter, EncodeQuery } from "./object-codec.ts";
import { encodeRouteLookup, type RouteQuery } from "./route.ts";

/** More per send gains little and blocks the event loop for longer. */
const BATCH_MESSAGES = 64;
const MAX_DUMP_ATTEMPTS = 8;
const DUMP_RETRY_DELAY_MS = 5;

/** What the kernel would do with a packet: the route, or the name of the errno with which it refuses. */
export type RouteAnswer =
  | { readonly route: RouteMessage; readonly errno?: never }
  | { readonly errno: string; readonly route?: never };

interface Answer extends Acknowledgement {
  /** The objects changed while the kernel listed them: some may be missing or double. */
  readonly isInterrupted: boolean;
}

/**
 * One socket; callers may overlap, their work is done one after the other. Whatever is sent is answered by the kernel
 * before `send` returns, so nothing here waits for readiness.
 */
export class Rtnetlink implements AsyncDisposable {
  readonly #socket: NetlinkSocket;
  readonly #writer = new MessageWriter();
  readonly #monitor = new RtnetlinkMonitor();
  /** Listings of all objects of a kind that have not begun: one serves all who ask before that. */
  readonly #asked = new Map<ObjectKind, Promise<readonly unknown[]>>();
  #lastSequence = 0;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** In the calling thread's network namespace, for ever. Throws a FlannelError when the kernel refuses a socket. */
  static open(): Rtnetlink {
    return new Rtnetlink(NetlinkSocket.open({ protocol: NETLINK_ROUTE, receiveBufferBytes: 1024 * 1024 }));
  }

  /** See `RtnetlinkMonitor.follow`: over one more socket, the same for all who follow. */
  follow(options: MonitorOptions): Disposable {
    return this.#monitor.follow(options);
  }

  /**
   * All objects of `kind` that fit `filter`, in the kernel's order. Empty when the filter's device or table does not
   * exist and when the kernel does not know the kind. Repeats while the objects change; `KERNEL_BUSY` if that does
   * not end. Other work of the event loop goes on meanwhile.
   */
  async dump<K extends ObjectKind>(kind: K, filter?: DumpFilter): Promise<ObjectKinds[K][]> {
    if (filter !== undefined) return await this.dumpAs(kind, filter, (message) => message);
    // What is kept for a kind is a listing of it.
    const asked = (this.#asked.get(kind) as Promise<readonly ObjectKinds[K][]> | undefined) ?? this.#dumpForAll(kind);
    return [...(await asked)];
  }

  #dumpForAll<K extends ObjectKind>(kind: K): Promise<readonly ObjectKinds[K][]> {
    const listing = this.#dump(
      kind,
      {},
      (message) => message,
      () => this.#asked.delete(kind),
    );
    this.#asked.set(kind, listing);
    return listing;
  }

  /**
   * As `dump`, but keeps only what `read` makes of each object, undefined being left out: of ten thousand messages none
   * outlives its own reading. `read` sees objects again when the kernel's list has to be read again.
   */
  dumpAs<K extends ObjectKind, T>(
    kind: K,
    filter: DumpFilter,
    read: (message: ObjectKinds[K]) => T | undefined,
  ): Promise<T[]> {
    return this.#dump(kind, filter, read);
  }

  #dump<K extends ObjectKind, T>(
    kind: K,
    filter: DumpFilter,
    read: (message: ObjectKinds[K]) => T | undefined,
    onBegin?: () => unknown,
  ): Promise<T[]> {
    const codec = objectCodecs[kind];
    const readFrame = (view: DataView, frame: MessageFrame): T | undefined => {
      if (codec.mayFit?.(view, frame.start, frame.end, filter) === false) return undefined;
      const message = decodeNew(kind, view, frame);
      return message !== undefined && codec.fits(message, filter) ? read(message) : undefined;
    };
    return this.#exclusively(async () => {
      onBegin?.();
      const parts: T[][] = [];
      for (const query of codec.queries(filter)) parts.push(await this.#collect(kind, query, readFrame));
      return parts.flat();
    });
  }

  /**
   * Carries out `requests` in order; one that fails does not stop the others. The result has an error or undefined at
   * the position of each request. Errors name the request and give the kernel's own words; `details` as of `fromErrno`.
   * Deleting what is missing is an error too (`KERNEL_NOT_FOUND`). After `signal` the rest is `CANCELLED`.
   */
  apply(requests: readonly NetlinkRequest[], signal?: AbortSignal): Promise<readonly (FlannelError | undefined)[]> {
    return this.#exclusively(async () => {
      const results: (FlannelError | undefined)[] = [];
      for (let first = 0; first < requests.length; first += BATCH_MESSAGES) {
        const batch = requests.slice(first, first + BATCH_MESSAGES);
        if (signal?.aborted === true) {
          for (const request of batch) results.push(new FlannelError("CANCELLED", `${request.describe()}: cancelled`));
          continue;
        }
        if (first > 0) await nextTurn();
        for (const result of this.#applyBatch(batch)) results.push(result);
      }
      return results;
    });
  }

  /**
   * The route a packet to `destination` would take (`ip route get`). `KERNEL_NOT_FOUND` when there is none or when it
   * leads nowhere (unreachable, prohibit, blackhole).
   */
  routeLookup(destination: Address): Promise<RouteMessage> {
    return this.#exclusively(async () => {
      const operation = `look up route to ${destination}`;
      let route: RouteMessage | undefined;
      const answer = await this.#ask(
        (writer) => encodeRouteLookup(writer, { destination }, nlm.ack),
        (frame) => {
          route ??= decodeNew("route", this.#socket.view, frame);
        },
      );
      const error = answer.errno === 0 ? undefined : errorOf(operation, answer);
      if (error !== undefined && !leadsNowhere(error)) throw error;
      if (route === undefined || route.type === rtn.blackhole || isRejecting(route.type)) {
        throw new FlannelError("KERNEL_NOT_FOUND", `${operation}: there is no route`, {
          cause: error,
          retryable: true,
        });
      }
      return route;
    });
  }

  /**
   * The ways of many packets, each at the position of its query; an errno is an answer. Sent in batches, each of which holds
   * the event loop for about a millisecond. Throws only when the kernel does not answer at all.
   */
  routeLookups(queries: readonly RouteQuery[]): Promise<RouteAnswer[]> {
    return this.#exclusively(async () => {
      const answers: RouteAnswer[] = [];
      for (let first = 0; first < queries.length; first += BATCH_MESSAGES) {
        if (first > 0) await nextTurn();
        answers.push(...this.#lookUpBatch(queries.slice(first, first + BATCH_MESSAGES)));
      }
      return answers;
    });
  }

  /** Waits for what was started, then closes the sockets. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#monitor[Symbol.dispose]();
    await this.#exclusively(() => {
      this.#socket[Symbol.dispose]();
      return Promise.resolve();
    });
  }

  #exclusively<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(task);
    // Without the value: a list of ten thousand routes would stay in memory until the next request.
    const done = () => undefined;
    this.#queue = result.then(done, done);
    return result;
  }

  async #collect<T>(
    kind: ObjectKind,
    query: EncodeQuery,
    read: (view: DataView, frame: MessageFrame) => T | undefined,
  ): Promise<T[]> {
    for (let attempt = 1; attempt <= MAX_DUMP_ATTEMPTS; attempt++) {
      const rows: T[] = [];
      const answer = await this.#ask(query, (frame) => {
        const row = read(this.#socket.view, frame);
        if (row !== undefined) rows.push(row);
      });
      if (answer.errno !== 0) {
        const error = errorOf(`read ${kind} objects`, answer);
        const isMissingKind = objectCodecs[kind].mayBeMissing === true && hasCode(error, "KERNEL_UNSUPPORTED");
        if (isMissingKind || hasCode(error, "KERNEL_NOT_FOUND")) return [];
        throw error;
      }
      if (!answer.isInterrupted) return rows;
      await sleep(attempt * DUMP_RETRY_DELAY_MS);
    }
    throw new FlannelError(
      "KERNEL_BUSY",
      `read ${kind} objects: they changed during each of ${MAX_DUMP_ATTEMPTS} attempts`,
      {
        retryable: true,
      },
    );
  }

  /** Sends one query and reads its answer up to its end; `onMessage` must be done with the frame when it returns. */
  async #ask(encode: EncodeQuery, onMessage: (frame: MessageFrame) => void): Promise<Answer> {
    const sequence = this.#start();
    encode(this.#writer);
    this.#writer.stamp(0, sequence, 0);
    this.#socket.send(this.#writer.written);
    let isInterrupted = false;
    for (;;) {
      const length = this.#receive();
      for (const frame of messagesIn(this.#socket.view, length)) {
        if (frame.sequence !== sequence) continue;
        if ((frame.flags & nlm.dumpInterrupted) !== 0) isInterrupted = true;
        if (frame.type === nlmsg.error || frame.type === nlmsg.done) {
          return { ...decodeAcknowledgement(this.#socket.view, frame), isInterrupted };
        }
        onMessage(frame);
      }
      await nextTurn();
    }
  }

  /** Each request is answered by exactly one message: the route, or an error. */
  #lookUpBatch(batch: readonly RouteQuery[]): RouteAnswer[] {
    const firstSequence = this.#start();
    for (const [index, query] of batch.entries()) {
      const start = this.#writer.length;
      encodeRouteLookup(this.#writer, query, 0);
      this.#writer.stamp(start, (firstSequence + index) >>> 0, 0);
    }
    this.#lastSequence = (firstSequence + batch.length - 1) >>> 0;
    this.#socket.send(this.#writer.written);
    const answers = new Array<RouteAnswer>(batch.length);
    for (let left = batch.length; left > 0; ) {
      const length = this.#receive();
      for (const frame of messagesIn(this.#socket.view, length)) {
        const index = (frame.sequence - firstSequence) >>> 0;
        if (index >= batch.length || answers[index] !== undefined) continue;
        const route = decodeNew("route", this.#socket.view, frame);
        const errno = route === undefined ? answerErrno(this.#socket.view, frame) : undefined;
        answers[index] = route === undefined ? { errno: errno ?? "EPROTO" } : { route };
        left--;
      }
    }
    return answers;
  }

  #applyBatch(batch: readonly NetlinkRequest[]): (FlannelError | undefined)[] {
    const results = new Array<FlannelError | undefined>(batch.length).fill(undefined);
    const firstSequence = this.#start();
    let last: { readonly start: number; readonly sequence: number } | undefined;
    for (const [index, request] of batch.entries()) {
      const start = this.#writer.length;
      try {
        request.encode(this.#writer);
        last = { start, sequence: (firstSequence + index) >>> 0 };
        this.#writer.stamp(start, last.sequence, 0);
      } catch (cause) {
        this.#writer.truncate(start);
        results[index] = new FlannelError("INTERNAL", `${request.describe()}: cannot be encoded`, { cause });
      }
    }
    this.#lastSequence = (firstSequence + batch.length - 1) >>> 0;
    if (last === undefined) return results;
    // The kernel reports every failure, but success only where asked; one acknowledgement tells that all are done.
    this.#writer.stamp(last.start, last.sequence, nlm.ack);
    try {
      this.#socket.send(this.#writer.written);
      this.#readResults(batch, results, firstSequence, last.sequence);
    } catch (error) {
      // Sent or not, nothing is known of those without a result.
      for (const [index, request] of batch.entries()) results[index] ??= withOperation(request.describe(), error);
    }
    return results;
  }

  #readResults(
    batch: readonly NetlinkRequest[],
    results: (FlannelError | undefined)[],
    firstSequence: number,
    lastSequence: number,
  ): void {
    for (;;) {
      const length = this.#receive();
      for (const frame of messagesIn(this.#socket.view, length)) {
        const index = (frame.sequence - firstSequence) >>> 0;
        const request = batch[index];
        if (frame.type !== nlmsg.error || request === undefined) continue;
        const answer = decodeAcknowledgement(this.#socket.view, frame);
        if (answer.errno !== 0) results[index] = errorOf(request.describe(), answer);
        if (frame.sequence === lastSequence) return;
      }
    }
  }

  /** Clears the way for a new exchange: throws away what is left of a broken one. Returns its first sequence number. */
  #start(): number {
    for (let isEmpty = false; !isEmpty; ) {
      try {
        isEmpty = this.#socket.receive() === undefined;
      } catch (error) {
        if (!hasErrno(error, "ENOBUFS")) throw error;
      }
    }
    this.#writer.clear();
    this.#lastSequence = (this.#lastSequence + 1) >>> 0;
    return this.#lastSequence;
  }

  #receive(): number {
    const length = this.#socket.receive();
    if (length !== undefined) return length;
    throw new FlannelError("KERNEL_REJECTED", "the kernel did not answer", { retryable: true });
  }
}

function decodeNew<K extends ObjectKind>(kind: K, view: DataView, frame: MessageFrame): ObjectKinds[K] | undefined {
  const codec = objectCodecs[kind];
  return frame.type === codec.newType ? codec.decode(view, frame.start, frame.end) : undefined;
}

function answerErrno(view: DataView, frame: MessageFrame): string | undefined {
  return frame.type === nlmsg.error ? errnoName(decodeAcknowledgement(view, frame).errno) : undefined;
}

function errorOf(operation: string, answer: Acknowledgement): FlannelError {
  return fromErrno(operation, answer.errno, { kernelText: answer.kernelText });
}

function withOperation(operation: string, error: unknown): FlannelError {
  if (!(error instanceof FlannelError)) return new FlannelError("INTERNAL", `${operation}: failed`, { cause: error });
  const { code, retryable, details } = error;
  return new FlannelError(code, `${operation}: ${error.message}`, { cause: error, retryable, details });
}

function leadsNowhere(error: FlannelError): boolean {
  // What the kernel answers when it finds no route, or one of type unreachable, prohibit or blackhole (fib_props).
  return ["ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL"].some((name) => hasErrno(error, name));
}

function isRejecting(routeType: number): boolean {
  return routeType === rtn.unreachable || routeType === rtn.prohibit;
}
