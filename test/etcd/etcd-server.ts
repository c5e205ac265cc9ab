// Real etcd members for tests: loopback, random ports, data in memory, no fsync. Everything goes with `await using`;
// members also die with the test process.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { access, constants, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { DEADLINE_MS, until } from "../../lab/wait.ts";
import type { Pki } from "./pki.ts";

const run = promisify(execFile);

export interface EtcdServerOptions {
  readonly pki?: Pki;
  /** Clients must show a certificate. */
  readonly clientCertAuth?: boolean;
  /** Listen on a Unix socket as well, see EtcdMember.socketPath. */
  readonly hasSocket?: boolean;
  /** Life of an unused authentication token. */
  readonly tokenTtlSeconds?: number;
  readonly members?: 1 | 3;
  readonly extraArguments?: readonly string[];
}

/** One member: start, kill -9, restart on the same data and ports. */
export class EtcdMember {
  readonly endpoint: string;
  /** Empty when it listens on none. */
  readonly socketPath: string;
  readonly #metricsUrl: string;
  readonly #arguments: readonly string[];
  readonly #directory: string;
  #process: ChildProcess | undefined;

  constructor(
    directory: string,
    endpoint: string,
    socketPath: string,
    metricsUrl: string,
    commandLine: readonly string[],
  ) {
    this.endpoint = endpoint;
    this.socketPath = socketPath;
    this.#metricsUrl = metricsUrl;
    this.#arguments = commandLine;
    this.#directory = directory;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  get dataDirectory(): string {
    return this.#argumentOf("--data-dir");
  }

  /** Flags that name it and its cluster. */
  get identity(): string[] {
    const flags = ["--name", "--initial-cluster", "--initial-advertise-peer-urls"];
    return flags.flatMap((flag) => [flag, this.#argumentOf(flag)]);
  }

  #argumentOf(flag: string): string {
    return this.#arguments[this.#arguments.indexOf(flag) + 1] ?? "";
  }

  start(): void {
    const log = openSync(this.#logFile(), "a");
    // The kernel ends the member when the test process dies without cleaning up.
    const commandLine = ["--pdeathsig", "KILL", "etcd", ...this.#arguments];
    this.#process = spawn("setpriv", commandLine, { cwd: this.#directory, stdio: ["ignore", log, log] });
    closeSync(log);
  }

  async healthy(): Promise<void> {
    for (const end = Date.now() + DEADLINE_MS; Date.now() < end; await delay(25)) {
      if (this.#process?.exitCode !== null) throw new Error(`etcd exited: ${this.log()}`);
      const answer = await fetch(`${this.#metricsUrl}/health`).catch(() => undefined);
      if (answer?.ok === true && (await answer.text()).includes("true")) return;
    }
    throw new Error(`etcd did not become healthy: ${this.log()}`);
  }

  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  async restart(): Promise<void> {
    await this.kill();
    this.start();
    await this.healthy();
  }

  /** How many calls of a gRPC method it has answered since it started. */
  async callCount(method: string): Promise<number> {
    const metrics = await (await fetch(`${this.#metricsUrl}/metrics`)).text();
    const line = new RegExp(`^grpc_server_started_total\\{grpc_method="${method}",.* (\\d+)$`, "m").exec(metrics);
    return Number(line?.[1] ?? 0);
  }

  /** Resolves when no authentication token is alive: each login's has been deleted, which it logs with `debug`. */
  async untilTokensExpired(): Promise<void> {
    const areGone = async () => {
      const deleted = readFileSync(this.#logFile(), "utf8").split('"deleted a simple token"').length - 1;
      const logins = await this.callCount("Authenticate");
      if (deleted < logins) throw new Error(`${deleted} of ${logins} are deleted`);
      return true;
    };
    await until(areGone, { what: "all tokens to expire", intervalMs: 50 });
  }

  log(): string {
    return readFileSync(this.#logFile(), "utf8").slice(-2_000);
  }

  #logFile(): string {
    return join(this.#directory, `${new URL(this.endpoint).port}.log`);
  }
}

/** A cluster of one member or three. */
export class EtcdServer implements AsyncDisposable {
  readonly members: readonly EtcdMember[];
  readonly #directory: string;
  readonly #pki: Pki | undefined;
  readonly #onExit: () => void;

  private constructor(directory: string, members: readonly EtcdMember[], pki: Pki | undefined) {
    this.#directory = directory;
    this.members = members;
    this.#pki = pki;
    this.#onExit = () => rmSync(directory, { recursive: true, force: true });
    process.once("exit", this.#onExit);
  }

  static async start(options: EtcdServerOptions = {}): Promise<EtcdServer> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await EtcdServer.#startOnce(options);
      } catch (error) {
        // Its ports were free when they were chosen; tests beside this one take ports, too.
        if (attempt === 5 || !String(error).includes("address already in use")) throw error;
      }
    }
  }

  static async #startOnce(options: EtcdServerOptions): Promise<EtcdServer> {
    const directory = await mkdtemp(join(await memoryDirectory(), "flannel-etcd-"));
    const members = await planMembers(directory, options);
    const server = new EtcdServer(directory, members, options.pki);
    try {
      for (const member of members) member.start();
      await Promise.all(members.map((member) => member.healthy()));
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  get member(): EtcdMember {
    return this.members[0]!;
  }

  /** Comma-separated, as `--etcd-endpoints` wants them. */
  get endpoints(): string {
    return this.members.map(({ endpoint }) => endpoint).join(",");
  }

  /** Runs etcdctl (API 3) against the first member that is given, and resolves with its output. */
  async control(...commandLine: readonly string[]): Promise<string> {
    const tls =
      this.#pki === undefined
        ? []
        : ["--cacert", this.#pki.ca, "--cert", this.#pki.clientCert, "--key", this.#pki.clientKey];
    const { stdout } = await run("etcdctl", ["--endpoints", this.endpoints, ...tls, ...commandLine], {
      env: { ...process.env, ETCDCTL_API: "3" },
    });
    return stdout;
  }

  /** As an administrator does it: `snapshot save`, and `snapshot restore` under the old name and addresses. */
  async copyData(): Promise<() => Promise<void>> {
    const { member } = this;
    const file = join(this.#directory, "copy.db");
    await this.control("snapshot", "save", file);
    return async () => {
      await member.kill();
      await rm(member.dataDirectory, { recursive: true });
      await this.control("snapshot", "restore", file, ...member.identity, "--data-dir", member.dataDirectory);
      await member.restart();
    };
  }

  /** Users root and flannel with the password `secret`; flannel may do everything below /coreos.com/network. */
  async enableAuthentication(): Promise<void> {
    await this.control("user", "add", "root:secret");
    await this.control("user", "grant-role", "root", "root");
    await this.control("user", "add", "flannel:secret");
    await this.control("role", "add", "flannel");
    await this.control("role", "grant-permission", "flannel", "--prefix=true", "readwrite", "/coreos.com/network/");
    await this.control("user", "grant-role", "flannel", "flannel");
    await this.control("auth", "enable");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
    await rm(this.#directory, { recursive: true, force: true });
    process.off("exit", this.#onExit);
  }
}

/** A port nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function planMembers(directory: string, options: EtcdServerOptions): Promise<EtcdMember[]> {
  const count = options.members ?? 1;
  const names = Array.from({ length: count }, (_, index) => `m${index}`);
  const peers = await Promise.all(names.map(async (name) => ({ name, url: `http://127.0.0.1:${await freePort()}` })));
  const cluster = peers.map(({ name, url }) => `${name}=${url}`).join(",");
  return await Promise.all(
    peers.map(async ({ name, url: peerUrl }) => {
      const endpoint = `${options.pki === undefined ? "http" : "https"}://127.0.0.1:${await freePort()}`;
      const metrics = `http://127.0.0.1:${await freePort()}`;
      // etcd wants the form host:port and makes a file of that name in its working directory.
      const socketName = options.hasSocket === true ? `localhost:${await freePort()}` : "";
      const socketUrl = `,${options.pki === undefined ? "unix" : "unixs"}://${socketName}`;
      const commandLine = [
        ...["--name", name, "--data-dir", join(directory, name), "--unsafe-no-fsync"],
        ...["--listen-client-urls", endpoint + (socketName && socketUrl), "--advertise-client-urls", endpoint],
        ...["--listen-peer-urls", peerUrl, "--initial-advertise-peer-urls", peerUrl, "--initial-cluster", cluster],
        ...["--listen-metrics-urls", metrics, "--logger", "zap", "--log-level", "warn"],
        ...["--heartbeat-interval", "50", "--election-timeout", "500"],
        ...["--auth-token-ttl", String(options.tokenTtlSeconds ?? 300)],
        ...tlsArguments(options),
        ...(options.extraArguments ?? []),
      ];
      return new EtcdMember(directory, endpoint, socketName && join(directory, socketName), metrics, commandLine);
    }),
  );
}

function tlsArguments({ pki, clientCertAuth }: EtcdServerOptions): string[] {
  if (pki === undefined) return [];
  const server = ["--cert-file", pki.serverCert, "--key-file", pki.serverKey];
  return clientCertAuth === true ? [...server, "--client-cert-auth", "--trusted-ca-file", pki.ca] : server;
}

/** Memory where the machine has it: a data directory takes 62 MB at once. */
export async function memoryDirectory(): Promise<string> {
  return await access("/dev/shm", constants.W_OK).then(
    () => "/dev/shm",
    () => tmpdir(),
  );
}
