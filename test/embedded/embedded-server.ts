// A flannel-store process for tests: the built program as its launcher runs it, on loopback, killed with -9 and started
// again on the same data and port. Goes with `await using`, and dies with the test process.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { DEADLINE_MS } from "../../lab/wait.ts";
import { createCluster } from "../../src/flannel-store/membership/cluster-setup.ts";
import { freePort, memoryDirectory } from "../etcd/etcd-server.ts";
import type { Pki } from "../etcd/pki.ts";
import type { SmallDisk } from "./small-disk.ts";

const run = promisify(execFile);
const launcher = fileURLToPath(new URL("../../bin/flannel-store", import.meta.url));

export interface EmbeddedServerOptions {
  readonly pki?: Pki;
  /** Serves a cluster that is made first, below this prefix. */
  readonly clusterPrefix?: string;
  readonly extraArguments?: readonly string[];
  /** Data where a sync costs nothing: for tests of anything but durability. */
  readonly inMemory?: boolean;
  /** Where the data is instead. */
  readonly disk?: SmallDisk;
  /** Words in front of the command line: `strace …`. */
  readonly wrapper?: readonly string[];
}

/** The process; named as etcd's members are. */
export class EmbeddedMember {
  readonly endpoint: string;
  readonly #argv: readonly string[];
  #process: ChildProcess | undefined;
  #output = "";

  constructor(endpoint: string, argv: readonly string[]) {
    this.endpoint = endpoint;
    this.#argv = argv;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  start(): void {
    this.#output = "";
    const child = spawn("setpriv", ["--pdeathsig", "KILL", ...this.#argv], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#output += text;
        child.emit("output");
      });
    }
    this.#process = child;
  }

  /** Resolves when it has said that it serves. */
  async healthy(): Promise<void> {
    const child = this.#process;
    const guard = AbortSignal.timeout(DEADLINE_MS);
    while (!this.#output.includes("serving")) {
      if (child?.exitCode !== null) throw new Error(`flannel-store exited: ${this.#output}`);
      await Promise.race([once(child, "output", { signal: guard }), once(child, "exit", { signal: guard })]);
    }
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }

  /** As a service manager ends it. Its exit code; null when it was killed. */
  async stop(): Promise<number | null> {
    const child = this.#process;
    await this.kill("SIGTERM");
    return child?.exitCode ?? null;
  }

  async restart(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.kill(signal);
    this.start();
    await this.healthy();
  }

  signal(name: NodeJS.Signals): void {
    this.#process?.kill(name);
  }

  log(): string {
    return this.#output;
  }
}

export class EmbeddedServer implements AsyncDisposable {
  readonly member: EmbeddedMember;
  readonly directory: string;
  readonly dataDirectory: string;
  readonly #pki: Pki | undefined;
  readonly #onExit: () => void;

  private constructor(directory: string, dataDirectory: string, member: EmbeddedMember, pki: Pki | undefined) {
    this.directory = directory;
    this.dataDirectory = dataDirectory;
    this.member = member;
    this.#pki = pki;
    this.#onExit = () => rmSync(directory, { recursive: true, force: true });
    process.once("exit", this.#onExit);
  }

  static async start(options: EmbeddedServerOptions = {}): Promise<EmbeddedServer> {
    const { pki, disk, clusterPrefix: prefix, extraArguments = [], wrapper = disk?.wrapper ?? [] } = options;
    const parent = options.inMemory === true ? await memoryDirectory() : tmpdir();
    const directory = await mkdtemp(join(parent, "flannel-store-"));
    const port = await freePort();
    const address = `127.0.0.1:${port}`;
    const isEncrypted = pki !== undefined || prefix !== undefined;
    const data = {
      seenHere: disk?.path("data") ?? join(directory, "data"),
      seenThere: join(disk?.mount ?? directory, "data"),
    };
    if (prefix !== undefined) {
      await createCluster(join(data.seenHere, "cluster"), { addresses: ["127.0.0.1"], port, prefix });
    }
    const tls = pki === undefined ? [] : ["--tls-cert", pki.serverCert, "--tls-key", pki.serverKey];
    // A tracer that is killed lets go of what it traces: that has to die with the tracer.
    const traced = wrapper.length === 0 ? [] : [...wrapper, "setpriv", "--pdeathsig", "KILL"];
    const argv = [
      ...traced,
      launcher,
      "--data-dir",
      data.seenThere,
      "--listen",
      address,
      ...tls,
      ...(prefix === undefined ? [] : ["--cluster"]),
      ...extraArguments,
    ];
    const member = new EmbeddedMember(`${isEncrypted ? "https" : "http"}://${address}`, argv);
    const server = new EmbeddedServer(directory, data.seenHere, member, pki);
    try {
      member.start();
      await member.healthy();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  get endpoints(): string {
    return this.member.endpoint;
  }

  /** Runs etcdctl (API 3) and resolves with its output. */
  async control(...commandLine: readonly string[]): Promise<string> {
    const pki = this.#pki;
    const tls = pki === undefined ? [] : ["--cacert", pki.ca, "--cert", pki.clientCert, "--key", pki.clientKey];
    // With http:// in front `endpoint status` of etcdctl 3.4 sends the whole URL as the name of the server, which HTTP/2
    // in Node refuses.
    const endpoints = this.endpoints.replace("http://", "");
    const { stdout } = await run("etcdctl", ["--endpoints", endpoints, ...tls, ...commandLine], {
      env: { ...process.env, ETCDCTL_API: "3" },
    });
    return stdout;
  }

  /** With the files of a killed process: what is acknowledged is in them. */
  async copyData(): Promise<() => Promise<void>> {
    const copy = join(this.directory, "copy");
    await this.member.kill();
    await cp(this.dataDirectory, copy, { recursive: true });
    this.member.start();
    await this.member.healthy();
    return async () => {
      await this.member.kill();
      await rm(this.dataDirectory, { recursive: true });
      await cp(copy, this.dataDirectory, { recursive: true });
      await this.member.restart();
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.member.kill();
    await rm(this.directory, { recursive: true, force: true });
    process.off("exit", this.#onExit);
  }
}
