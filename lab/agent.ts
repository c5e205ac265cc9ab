// One flanneld on a lab host: the launcher of the shipped program, run in the host's network namespace, with files of
// its own. What it logs is kept and can be waited for.
import type { ChildProcess } from "node:child_process";
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { controlPaths } from "../src/agent/control/control-paths.ts";
import { metricsSchema, type NetworkStatus, type Status, statusSchema } from "../src/agent/control/control-protocol.ts";
import type { MetricName } from "../src/telemetry/metrics/definitions.ts";
import type { LabHost } from "./host.ts";
import { readSubnetEnv, type SubnetEnv } from "./subnet-env.ts";
import { DEADLINE_MS, until } from "./wait.ts";

export interface AgentOptions {
  /** Missing: the flags say where leases are kept. */
  readonly etcdEndpoints?: string;
  /** Further flags; they come last, so they win. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Default: the checkout's `bin/flanneld`. */
  readonly program?: readonly string[];
  /** The program knows where its files are, in `directory`: it gets no flags about them. */
  readonly knowsFiles?: boolean;
  /** It serves several networks (`--networks`, `--watch-networks` among `args`): their subnet files go into `networks`. */
  readonly isSeveral?: boolean;
  /** Directory of subnet.env, control socket and state, for several agents on one host. Default: the host's. */
  readonly directory?: string;
}

/** An agent's status with its one network at hand. */
export type LabStatus = Omit<Status, "networks"> & NetworkStatus;

export interface AgentExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const flanneldLauncher = fileURLToPath(new URL("../bin/flanneld", import.meta.url));

export class LabAgent implements AsyncDisposable {
  readonly host: LabHost;
  readonly directory: string;
  readonly pid: number;
  /** The full command line, for messages. */
  readonly argv: readonly string[];
  /** Settles when the process has ended and all it said has been read. */
  readonly exited: Promise<AgentExit>;
  readonly #child: ChildProcess;
  #output = "";

  private constructor(host: LabHost, directory: string, argv: readonly string[], child: ChildProcess, pid: number) {
    this.host = host;
    this.directory = directory;
    this.argv = argv;
    this.#child = child;
    this.pid = pid;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#output += text;
      });
    }
    this.exited = new Promise((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
  }

  /** Returns as soon as the process runs; see `untilReady`. The pid is the agent's own. */
  static start(host: LabHost, options: AgentOptions): LabAgent {
    const directory = options.directory ?? host.runDirectory;
    const argv = [
      ...(options.program ?? [flanneldLauncher]),
      ...(options.etcdEndpoints === undefined ? [] : [`--etcd-endpoints=${options.etcdEndpoints}`]),
      ...(options.knowsFiles === true
        ? []
        : [
            options.isSeveral === true
              ? `--subnet-dir=${join(directory, "networks")}`
              : `--subnet-file=${join(directory, "subnet.env")}`,
            `--state-dir=${join(directory, "state")}`,
          ]),
      ...(options.args ?? []),
    ];
    const child = host.namespace.spawn(argv, {
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    // Without a listener a failed spawn would end the test process; it shows as a missing pid.
    child.on("error", () => undefined);
    if (child.pid === undefined) throw new Error(`could not start ${argv.join(" ")}`);
    return new LabAgent(host, directory, argv, child, child.pid);
  }

  /** All it wrote to stdout and stderr. */
  get output(): string {
    return this.#output;
  }

  get subnetFile(): string {
    return join(this.directory, "subnet.env");
  }

  get controlSocket(): string {
    return join(this.directory, "flanneld.sock");
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The log lines, as text or JSON, that carry this `event`. */
  events(event: string): readonly string[] {
    const lines = this.#output.split("\n");
    return lines.filter(
      (line) =>
        line.includes(` event=${event} `) || line.endsWith(` event=${event}`) || line.includes(`"event":"${event}"`),
    );
  }

  /** Waits until the agent has logged `event` more than `after` times (default 0); gives the newest such line. */
  untilEvent(event: string, options: { readonly after?: number; readonly timeoutMs?: number } = {}): Promise<string> {
    return this.#until(`event ${event}`, options.timeoutMs, () => {
      const lines = this.events(event);
      return lines.length > (options.after ?? 0) ? lines.at(-1) : undefined;
    });
  }

  /** As it comes. Throws while nobody listens. */
  async wholeStatus(): Promise<Status> {
    return statusSchema.parse(await getJson(this.controlSocket, controlPaths.status));
  }

  /** What `flannelctl status` would get. Throws while nobody listens. */
  async status(): Promise<LabStatus> {
    const { networks, ...status } = await this.wholeStatus();
    const [network] = networks;
    if (network === undefined) throw new Error("the status names no network");
    return { ...network, ...status };
  }

  /** What it says of one of several networks; throws while it serves none of that name. */
  async networkStatus(name: string): Promise<NetworkStatus> {
    const { networks } = await this.wholeStatus();
    const network = networks.find((one) => one.name === name);
    if (network === undefined) throw new Error(`no network ${name} but ${networks.map((one) => one.name).join(", ")}`);
    return network;
  }

  /** Waits until one of several networks is ready with that many peers. */
  untilNetworkReady(name: string, peers: number): Promise<NetworkStatus> {
    return this.#until(`readiness of network ${name} with ${peers} peers`, undefined, async () => {
      const network = await this.networkStatus(name);
      const against = (network.reasons ?? []).filter((one) => one.state === "notReady" || one.name === "peers-pending");
      if (against.length > 0) throw new Error(`not ready: ${against.map(({ message }) => message).join("; ")}`);
      if (network.peers.programmed === peers) return network;
      throw new Error(`${network.peers.programmed} peers programmed`);
    });
  }

  /** Waits for the subnet file of one of several networks, and reads it. */
  untilNetworkEnv(name: string): Promise<SubnetEnv> {
    return this.#until(`${name}.env`, undefined, () => readSubnetEnv(this.networkFile(name)));
  }

  networkFile(name: string): string {
    return join(this.directory, "networks", `${name}.env`);
  }

  /** The values of a metric, by their labels but `network`, as `reason=noRoute`; empty when it tells nothing. */
  async metric(name: MetricName): Promise<Readonly<Record<string, number>>> {
    const { metrics } = metricsSchema.parse(await getJson(this.controlSocket, controlPaths.metrics));
    const samples = metrics.find((metric) => metric.name === name)?.samples ?? [];
    return Object.fromEntries(
      samples.map(({ labels: { network: _, ...labels }, value }) => [
        Object.entries(labels)
          .map((pair) => pair.join("="))
          .join(" "),
        value,
      ]),
    );
  }

  /**
   * Waits until nothing speaks against it at this moment that packets flow, and optionally until the agent has
   * programmed that many peers. `status.state` of a recovery follows 10 s later.
   */
  untilReady(options: { readonly peers?: number; readonly timeoutMs?: number } = {}): Promise<LabStatus> {
    const what = options.peers === undefined ? "readiness" : `readiness with ${options.peers} peers`;
    return this.#until(what, options.timeoutMs, async () => {
      const status = await this.status();
      if (status.agent.pid !== this.pid) throw new Error(`another agent answers, pid ${status.agent.pid}`);
      const reasons = status.reasons.filter(({ name, state }) => state === "notReady" || name === "peers-pending");
      if (reasons.length > 0) throw new Error(`not ready: ${reasons.map(({ message }) => message).join("; ")}`);
      if (options.peers === undefined || status.peers.programmed === options.peers) return status;
      throw new Error(`${status.peers.programmed} peers programmed`);
    });
  }

  /** Waits for subnet.env and reads it. */
  untilSubnetEnv(timeoutMs?: number): Promise<SubnetEnv> {
    return this.#until("subnet.env", timeoutMs, () => readSubnetEnv(this.subnetFile));
  }

  /** Resident memory in bytes. */
  async residentBytes(): Promise<number> {
    return (await this.memory()).residentBytes;
  }

  /** Resident memory in bytes, and what of it is not of files. */
  async memory(): Promise<{ readonly residentBytes: number; readonly ownBytes: number }> {
    const text = await readFile(`/proc/${this.pid}/status`, "utf8");
    const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1]) * 1024;
    return { residentBytes: bytes("VmRSS"), ownBytes: bytes("RssAnon") };
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Asks it to stop (SIGTERM) and waits. */
  async term(): Promise<AgentExit> {
    this.signal("SIGTERM");
    return this.exited;
  }

  async kill9(): Promise<AgentExit> {
    this.signal("SIGKILL");
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isRunning) await this.kill9();
  }

  /** As `until`, but gives up when the process ends, and shows its last words. */
  async #until<T>(what: string, timeoutMs: number | undefined, look: () => Look<T>): Promise<T> {
    const lookOnce = async (): Promise<{ readonly value: T } | "ended" | undefined> => {
      const hasEnded = !this.isRunning;
      try {
        const value = await look();
        if (value !== undefined) return { value };
      } catch (error) {
        if (!hasEnded) throw error;
      }
      return hasEnded ? "ended" : undefined;
    };
    try {
      const found = await until(lookOnce, { what, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
      if (found !== "ended") return found.value;
      const exit = await this.exited;
      throw new Error(`ended (code ${exit.code}, signal ${exit.signal}) before ${what}`);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const lastWords = this.#output.slice(-4000);
      throw new Error(`flanneld on ${this.host.name}: ${reason}\n--- its last words:\n${lastWords}`, { cause: error });
    }
  }
}

type Look<T> = T | undefined | Promise<T | undefined>;

/** GET over a unix socket. Throws unless the answer is 200 with JSON. */
function getJson(socketPath: string, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, timeout: DEADLINE_MS, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => {
        if (response.statusCode !== 200) reject(new Error(`${path}: HTTP ${response.statusCode}: ${body}`));
        else resolve(JSON.parse(body));
      });
    });
    call.on("timeout", () => call.destroy(new Error(`${path}: no answer`)));
    call.on("error", reject);
    call.end();
  });
}
