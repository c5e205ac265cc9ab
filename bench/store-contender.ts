// One of the two servers of the set `store`, and what is measured on it: each measurement gives one number, or many.
import { readFile } from "node:fs/promises";
import { tryRun } from "../lab/command.ts";
import { Compare, PutRequest, RangeRequest, TxnRequest } from "../src/etcd-api/etcd.ts";
import { EtcdConnection } from "../src/store/etcd/etcd-connection.ts";
import { methods } from "../src/store/etcd/rpc.ts";
import { WatcherCrowd } from "./watcher-crowd.ts";

const IN_FLIGHT = 64;
export const KEYS = 10_000;
const READS = 5;
const WATCHED_PUTS = 100;
const WARM_UPS = 500;
const never = new AbortController().signal;
const value = Buffer.alloc(140, 120);

export interface Server {
  readonly endpoints: string;
  readonly pid: number;
}

export class Contender implements AsyncDisposable {
  readonly name: string;
  readonly #server: Server;
  readonly #connection: EtcdConnection;

  private constructor(name: string, server: Server, connection: EtcdConnection) {
    this.name = name;
    this.#server = server;
    this.#connection = connection;
  }

  static async connect(name: string, server: Server): Promise<Contender> {
    return new Contender(name, server, await EtcdConnection.open({ endpoints: server.endpoints }));
  }

  /** The keys that are read, and enough calls for both compilers to be done with the hot paths. */
  async prepare(): Promise<void> {
    await perSecond(KEYS, IN_FLIGHT, (index) => this.#put(`read/${index}`));
    await perSecond(WARM_UPS, IN_FLIGHT, (index) => this.#create(`warm/${index}`));
    await this.readsPerSecond();
  }

  putsPerSecond(count: number, inFlight = IN_FLIGHT): Promise<number> {
    return perSecond(count, inFlight, (index) => this.#put(`put/${index}`));
  }

  /** Of the kind with which an agent takes a lease: create a key unless it is there. */
  transactionsPerSecond(count: number, inFlight = IN_FLIGHT): Promise<number> {
    const fresh = `txn/${performance.now()}`;
    return perSecond(count, inFlight, (index) => this.#create(`${fresh}/${index}`));
  }

  /** Keys each second, all of them in one answer. */
  async readsPerSecond(): Promise<number> {
    const range = RangeRequest.fromPartial({ key: Buffer.from("read/"), rangeEnd: Buffer.from("read0") });
    const startMs = performance.now();
    for (let read = 0; read < READS; read++) {
      const { kvs } = await this.#connection.call(methods.range, range, "read", never);
      if (kvs.length !== KEYS) throw new Error(`${this.name}: ${kvs.length} keys, not ${KEYS}`);
    }
    return (READS * KEYS * 1_000) / (performance.now() - startMs);
  }

  /** Milliseconds from before a write to its event, of every watcher and write. */
  async watchLatencies(crowd: { readonly connections: number; readonly each: number }): Promise<number[]> {
    await using watchers = await WatcherCrowd.open(this.#server.endpoints, crowd);
    return await watchers.latencies(WATCHED_PUTS, () => this.#put("watched"));
  }

  /**
   * Writes each second that 500 Go clients get through, each with a connection of its own, who try 8,000. Undefined when
   * it gave up: it waits some seconds only for the deletion of all its keys, and says nothing then.
   */
  async checkPerf(): Promise<number | undefined> {
    const argv = ["etcdctl", `--endpoints=${this.#server.endpoints}`, "check", "perf", "--load=l"];
    const { stdout, stderr } = await tryRun(argv, { env: { ETCDCTL_API: "3" }, timeoutMs: 120_000 });
    const throughput = /(\d+) writes\/s/.exec(stdout)?.[1];
    if (throughput === undefined) console.error(`store: ${this.name}: check perf without result: ${stderr.trim()}`);
    return throughput === undefined ? undefined : Number(throughput);
  }

  async grantLeases(count: number): Promise<void> {
    const grant = { ttl: 86_400n, id: 0n };
    await perSecond(count, IN_FLIGHT, () => this.#connection.call(methods.leaseGrant, grant, "grant", never));
  }

  async residentMegabytes(): Promise<number> {
    const status = await readFile(`/proc/${this.#server.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1_024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  #put(key: string): Promise<unknown> {
    const request = PutRequest.fromPartial({ key: Buffer.from(key), value });
    return this.#connection.call(methods.put, request, "put", never);
  }

  #create(key: string): Promise<unknown> {
    const success = [{ requestPut: { key: Buffer.from(key), value } }];
    const compare = [Compare.fromPartial({ key: Buffer.from(key), target: 0, version: 0n })];
    return this.#connection.call(methods.txn, TxnRequest.fromPartial({ compare, success }), "txn", never);
  }
}

/** Calls each second, `inFlight` at a time. */
async function perSecond(count: number, inFlight: number, call: (index: number) => Promise<unknown>): Promise<number> {
  const indexes = Array.from({ length: count }, (_, index) => index).values();
  const worker = async () => {
    for (const index of indexes) await call(index);
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: inFlight }, worker));
  return (count * 1_000) / (performance.now() - startMs);
}
