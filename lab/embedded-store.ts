// The embedded store as labs and the demo use it: the shipped program on an address of the box, and a client to look
// into it, so that no etcd package is needed.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type KeyValue, PutRequest } from "../src/etcd-api/etcd.ts";
import { prefixRange } from "../src/etcd-api/key-space.ts";
import { EtcdConnection } from "../src/store/etcd/etcd-connection.ts";
import { readRange } from "../src/store/etcd/read-prefix.ts";
import { methods } from "../src/store/etcd/rpc.ts";
import { Daemon } from "./daemon.ts";
import type { EtcdEntry } from "./etcd.ts";
import { boxNamespace } from "./namespace.ts";

const launcher = fileURLToPath(new URL("../bin/flannel-store", import.meta.url));

export class EmbeddedStore implements AsyncDisposable {
  readonly endpoints: string;
  readonly #directory: string;
  readonly #daemon: Daemon;
  readonly #lifetime = new AbortController();
  #connection: EtcdConnection | undefined;

  private constructor(directory: string, address: string) {
    this.#directory = directory;
    this.endpoints = `http://${address}:2379`;
    // A box's LAN is nobody else's.
    const network = ["--listen", `${address}:2379`, "--insecure"];
    const argv = [launcher, "--data-dir", join(directory, "data"), ...network];
    this.#daemon = new Daemon("flannel-store", boxNamespace, argv);
  }

  /** Serves on `address` of the box when it resolves. */
  static async start(address: string): Promise<EmbeddedStore> {
    const store = new EmbeddedStore(await mkdtemp(join(tmpdir(), "flannel-store-")), address);
    store.#connection = await EtcdConnection.open({ endpoints: store.endpoints });
    await store.restart();
    return store;
  }

  /** The process's, 0 when it does not run. */
  get pid(): number {
    return this.#daemon.pid;
  }

  /** With -9, if it runs; returns when it serves again. */
  async restart(): Promise<void> {
    await this.kill9();
    this.#daemon.start();
    const serves = () => Promise.resolve(this.#daemon.logOfThisRun.includes("serving"));
    await this.#daemon.until("it serves", serves);
  }

  kill9(): Promise<void> {
    return this.#daemon.stop();
  }

  async put(key: string, value: string): Promise<void> {
    const request = PutRequest.fromPartial({ key: Buffer.from(key), value: Buffer.from(value) });
    await this.#connected.call(methods.put, request, `put ${key}`, this.#lifetime.signal);
  }

  /** All entries whose key starts so, by key. */
  async list(prefix: string): Promise<readonly EtcdEntry[]> {
    const toEntry = ({ key, value, modRevision, lease }: KeyValue): EtcdEntry => ({
      key: Buffer.from(key).toString(),
      value: Buffer.from(value).toString(),
      modRevision,
      leaseId: lease,
    });
    return (await readRange(this.#connected, prefixRange(prefix), toEntry, this.#lifetime.signal)).items;
  }

  /** Of the process. */
  async memory(): Promise<{ readonly residentBytes: number }> {
    const text = await readFile(`/proc/${this.pid}/status`, "utf8");
    return { residentBytes: Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1]) * 1024 };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lifetime.abort();
    await this.#connection?.[Symbol.asyncDispose]();
    await this.kill9();
    await rm(this.#directory, { recursive: true, force: true });
  }

  get #connected(): EtcdConnection {
    if (this.#connection === undefined) throw new Error("the embedded store has not been started");
    return this.#connection;
  }
}
