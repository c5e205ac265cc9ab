// The embedded store as labs and the demo use it: the shipped program on an address of the box, and a client to look
// into it, so that no etcd package is needed.
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type KeyValue, PutRequest } from "../src/etcd-api/etcd.ts";
import { prefixRange } from "../src/etcd-api/key-space.ts";
import { EtcdConnection } from "../src/store/etcd/etcd-connection.ts";
import { readRange } from "../src/store/etcd/read-prefix.ts";
import { methods } from "../src/store/etcd/rpc.ts";
import type { EtcdEntry } from "./etcd.ts";
import { boxNamespace } from "./namespace.ts";
import { until } from "./wait.ts";

const launcher = fileURLToPath(new URL("../bin/flannel-store", import.meta.url));

export class EmbeddedStore implements AsyncDisposable {
  readonly endpoints: string;
  readonly #directory: string;
  readonly #argv: readonly string[];
  readonly #lifetime = new AbortController();
  #child: ChildProcess | undefined;
  #connection: EtcdConnection | undefined;
  #output = "";

  private constructor(directory: string, address: string) {
    this.#directory = directory;
    this.endpoints = `http://${address}:2379`;
    // A box's LAN is nobody else's.
    const network = ["--listen", `${address}:2379`, "--insecure"];
    this.#argv = [launcher, "--data-dir", join(directory, "data"), ...network];
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
    return this.#child?.pid ?? 0;
  }

  /** With -9, if it runs; returns when it serves again. */
  async restart(): Promise<void> {
    await this.kill9();
    this.#output = "";
    const child = boxNamespace.spawn(this.#argv, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#output += text;
      });
    }
    this.#child = child;
    const serves = () => {
      if (child.exitCode !== null) throw new Error(`it ended: ${this.#output}`);
      return this.#output.includes("serving");
    };
    await until(serves, { what: "the embedded store to serve" });
  }

  async kill9(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = new Promise((resolve) => child.once("close", resolve));
    child.kill("SIGKILL");
    await closed;
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
