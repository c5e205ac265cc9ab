// A plain client of the etcd API for tests: every call as it is on the wire, errors as code and text, watches recorded.
import { Client, type ClientDuplexStream, credentials, Metadata } from "@grpc/grpc-js";
import { DEADLINE_MS } from "../../lab/wait.ts";
import type { Event, WatchRequest, WatchResponse } from "../../src/etcd-api/etcd.ts";
import { isServiceError } from "../../src/store/etcd/etcd-errors.ts";
import { callStreamOnce, callUnary, methods, openStream, type RpcMethod } from "../../src/store/etcd/rpc.ts";

const signal = new AbortController().signal;

export type Answer<T> = { readonly ok: T } | { readonly error: string };

export class StoreClient implements Disposable {
  readonly client: Client;
  readonly #metadata = new Metadata();

  /** @param endpoint without TLS */
  constructor(endpoint: string) {
    // Own connections: grpc-js would share them between clients of one process.
    const options = { "grpc.use_local_subchannel_pool": 1, "grpc.max_receive_message_length": -1 };
    this.client = new Client(endpoint.replace("http://", ""), credentials.createInsecure(), options);
  }

  call<Request, Response>(method: RpcMethod<Request, Response>, request: Request): Promise<Response> {
    return callUnary(this.client, method, request, { metadata: this.#metadata, timeoutMs: DEADLINE_MS, signal });
  }

  /** Errors as etcd words them, not thrown. */
  async ask<Request, Response>(method: RpcMethod<Request, Response>, request: Request): Promise<Answer<Response>> {
    try {
      return { ok: await this.call(method, request) };
    } catch (error) {
      if (!isServiceError(error)) throw error;
      return { error: `${error.code} ${error.details}` };
    }
  }

  keepAlive(id: bigint) {
    const context = { metadata: this.#metadata, timeoutMs: DEADLINE_MS, signal };
    return callStreamOnce(this.client, methods.leaseKeepAlive, { id }, context);
  }

  watch(): WatchRecorder {
    const context = { metadata: this.#metadata, timeoutMs: Number.POSITIVE_INFINITY, signal };
    return new WatchRecorder(openStream(this.client, methods.watch, context));
  }

  [Symbol.dispose](): void {
    this.client.close();
  }
}

/** What one watcher was told. */
export interface WatcherRecord {
  /** Answers other than events, in order. */
  readonly notes: WatchResponse[];
  readonly events: Event[];
}

export class WatchRecorder implements Disposable {
  readonly byWatcher = new Map<bigint, WatcherRecord>();
  /** The revision of an event answer is at least its events', and no revision is torn apart. */
  readonly oddities: string[] = [];
  /** Answers that said that more of the same revision follows. */
  fragments = 0;
  readonly #stream: ClientDuplexStream<WatchRequest, WatchResponse>;
  #wake: () => void = () => undefined;
  #isInFragments = false;

  constructor(stream: ClientDuplexStream<WatchRequest, WatchResponse>) {
    this.#stream = stream;
    stream.on("data", (response: WatchResponse) => {
      this.#record(response);
      this.#wake();
    });
  }

  send(request: WatchRequest): void {
    this.#stream.write(request);
  }

  /** True when `condition` holds within the time; looked at after each answer. */
  async until(condition: () => boolean, timeoutMs = DEADLINE_MS): Promise<boolean> {
    const end = performance.now() + timeoutMs;
    while (!condition()) {
      const leftMs = end - performance.now();
      if (leftMs <= 0) return false;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, Math.min(leftMs, 50));
      await promise;
      clearTimeout(timer);
    }
    return true;
  }

  /** Takes nothing from the server until `resume`. */
  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  [Symbol.dispose](): void {
    this.#stream.cancel();
  }

  #record(response: WatchResponse): void {
    const record = this.byWatcher.get(response.watchId) ?? { notes: [], events: [] };
    this.byWatcher.set(response.watchId, record);
    if (response.events.length === 0) record.notes.push(response);
    if (response.fragment) this.fragments++;
    const first = response.events[0]?.kv?.modRevision ?? 0n;
    const before = record.events.at(-1)?.kv?.modRevision ?? 0n;
    if (first !== 0n && (this.#isInFragments ? first < before : first <= before))
      this.oddities.push(`watch ${response.watchId}: ${first} after ${before}`);
    const last = response.events.at(-1)?.kv?.modRevision ?? 0n;
    if ((response.header?.revision ?? 0n) < last)
      this.oddities.push(`watch ${response.watchId}: header before ${last}`);
    this.#isInFragments = response.fragment;
    // Not all at once: there may be more than fit a call.
    for (const event of response.events) record.events.push(event);
  }
}
