// Many watchers of one key on some connections, and how long after a write each hears of it.
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { WatchRequest, type WatchResponse } from "../src/etcd-api/etcd.ts";
import { EtcdConnection } from "../src/store/etcd/etcd-connection.ts";
import { methods } from "../src/store/etcd/rpc.ts";

type WatchCall = ClientDuplexStream<WatchRequest, WatchResponse>;

export class WatcherCrowd implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  #count = 0;
  #heard: (response: WatchResponse) => void = () => undefined;

  /** Resolves when every watcher, each on a stream of its own, has been created. */
  static async open(endpoints: string, shape: { connections: number; each: number }): Promise<WatcherCrowd> {
    const crowd = new WatcherCrowd();
    for (let index = 0; index < shape.connections; index++) {
      const connection = crowd.#stack.use(await EtcdConnection.open({ endpoints }));
      await Promise.all(Array.from({ length: shape.each }, () => crowd.#watch(connection)));
    }
    return crowd;
  }

  /** Milliseconds from before each write to its event, of every watcher. */
  async latencies(writes: number, write: () => Promise<unknown>): Promise<number[]> {
    const samples: number[] = [];
    for (let index = 0; index < writes; index++) {
      const startMs = performance.now();
      const { promise, resolve } = Promise.withResolvers<void>();
      let left = this.#count;
      this.#heard = () => {
        samples.push(performance.now() - startMs);
        left--;
        if (left === 0) resolve();
      };
      await Promise.all([write(), promise]);
    }
    return samples;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }

  async #watch(connection: EtcdConnection): Promise<void> {
    const abort = new AbortController();
    this.#stack.defer(() => abort.abort());
    const { stream }: { stream: WatchCall } = await connection.openStream(methods.watch, abort.signal);
    const { promise: created, resolve } = Promise.withResolvers<void>();
    stream.on("data", (response: WatchResponse) => {
      if (response.created) resolve();
      else if (response.events.length > 0) this.#heard(response);
    });
    stream.write(WatchRequest.fromPartial({ createRequest: { key: Buffer.from("watched") } }));
    await created;
    this.#count++;
  }
}
