// Looks at the network as its users do: pings between containers, a continuous ping that accounts for each packet,
// throughput.
import type { ChildProcess } from "node:child_process";
import { tryRun } from "./command.ts";
import type { Namespace } from "./namespace.ts";
import type { Pod } from "./pod.ts";
import { DEADLINE_MS, until } from "./wait.ts";

export interface PingResult {
  readonly from: string;
  readonly to: string;
  readonly address: string;
  /** Undefined: no answer. */
  readonly roundTripMs: number | undefined;
}

export interface PingOptions {
  /** Payload bytes; sent with "do not fragment", so that a too large path MTU shows. */
  readonly payloadBytes?: number;
  readonly waitSeconds?: number;
}

/** One echo request. Gives the round-trip time in ms, or undefined without an answer. */
export async function ping(from: Namespace, address: string, options: PingOptions = {}): Promise<number | undefined> {
  const size = options.payloadBytes === undefined ? [] : ["-M", "do", "-s", String(options.payloadBytes)];
  const argv = ["ping", "-n", "-q", "-c", "1", "-W", String(options.waitSeconds ?? 1), ...size, address];
  const result = await from.tryRun(argv);
  const match = /= ([\d.]+)\//.exec(result.stdout);
  return result.exitCode === 0 && match !== null ? Number(match[1]) : undefined;
}

/** Every container to every other, on each family both have; four at a time. */
export async function pingAll(pods: readonly Pod[], options: PingOptions = {}): Promise<readonly PingResult[]> {
  const waiting = pods.flatMap((from) => pods.filter((to) => to !== from).flatMap((to) => targets(from, to)));
  const queue = waiting.entries();
  const results: PingResult[] = [];
  const worker = async () => {
    for (const [index, { from, to, address }] of queue) {
      const roundTripMs = await ping(from.namespace, address, options);
      results[index] = { from: from.name, to: to.name, address, roundTripMs };
    }
  };
  await Promise.all(Array.from({ length: 4 }, worker));
  return results;
}

/** Waits until every pair of containers reaches each other. The error names the pairs that do not. */
export async function untilAllPing(pods: readonly Pod[], timeoutMs = DEADLINE_MS): Promise<void> {
  const look = async () => {
    const silent = (await pingAll(pods)).filter((result) => result.roundTripMs === undefined);
    if (silent.length === 0) return true;
    throw new Error(`no answer: ${silent.map((pair) => `${pair.from} to ${pair.to} (${pair.address})`).join(", ")}`);
  };
  await until(look, { what: "all containers to reach each other", timeoutMs });
}

function targets(from: Pod, to: Pod): readonly { from: Pod; to: Pod; address: string }[] {
  const addresses = [from.ipv4 === undefined ? undefined : to.ipv4, from.ipv6 === undefined ? undefined : to.ipv6];
  return addresses.filter((address) => address !== undefined).map((address) => ({ from, to, address }));
}

export interface ContinuousPingReport {
  readonly sent: number;
  readonly answered: number;
  /** Sequence numbers without an answer, from 1. */
  readonly lost: readonly number[];
  /** Longest time between two answers in a row. */
  readonly longestSilenceMs: number;
}

/** A ping that goes on until stopped and knows the fate of each packet. */
export class ContinuousPing implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #answered = new Set<number>();
  readonly #intervalMs: number;
  #summary = "";
  #lastAnswerAtMs: number | undefined;
  #longestSilenceMs = 0;

  private constructor(child: ChildProcess, intervalMs: number) {
    this.#child = child;
    this.#intervalMs = intervalMs;
    let rest = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
    });
  }

  /** Returns after the first answer. `intervalMs` is the time between two packets, default 10. */
  static async start(from: Namespace, address: string, intervalMs = 10): Promise<ContinuousPing> {
    const argv = ["ping", "-n", "-i", String(intervalMs / 1000), address];
    const child = from.spawn(argv, { stdio: ["ignore", "pipe", "ignore"] });
    const probe = new ContinuousPing(child, intervalMs);
    try {
      await until(() => probe.#answered.size > 0, { what: `a first answer from ${address}` });
    } catch (error) {
      await probe[Symbol.asyncDispose]();
      throw error;
    }
    return probe;
  }

  /** Answers so far. */
  get answered(): number {
    return this.#answered.size;
  }

  /** Waits for that many further answers. */
  async more(count: number, timeoutMs = DEADLINE_MS): Promise<void> {
    const goal = this.answered + count;
    await until(() => this.answered >= goal, { what: `${count} more ping answers`, timeoutMs });
  }

  /**
   * Ends the ping and says what was lost. The packets of the last 200 ms count only if answered: their answers may
   * have been on the way.
   */
  async stop(): Promise<ContinuousPingReport> {
    await this.#end("SIGINT");
    const match = /(\d+) packets transmitted/.exec(this.#summary);
    if (match === null) throw new Error(`ping ended without a summary: ${this.#summary}`);
    const first = Math.min(...this.#answered);
    const last = Math.max(...this.#answered, Number(match[1]) - Math.ceil(200 / this.#intervalMs));
    const lost: number[] = [];
    for (let sequence = first; sequence <= last; sequence += 1) {
      if (!this.#answered.has(sequence)) lost.push(sequence);
    }
    const longestSilenceMs = this.#longestSilenceMs;
    return { sent: last - first + 1, answered: this.#answered.size, lost, longestSilenceMs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end("SIGKILL");
  }

  #take(line: string): void {
    const match = /icmp_seq=(\d+) ttl=/.exec(line);
    if (match !== null) {
      const now = performance.now();
      this.#longestSilenceMs = Math.max(this.#longestSilenceMs, now - (this.#lastAnswerAtMs ?? now));
      this.#lastAnswerAtMs = now;
      this.#answered.add(Number(match[1]));
    }
    if (line.includes("packets transmitted")) this.#summary = line;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.kill(signal);
    await closed;
  }
}

/** TCP throughput from one container to another over `seconds`, in bits per second. */
export async function measureThroughput(from: Pod, to: Pod, seconds = 2): Promise<number> {
  const address = to.ipv4 ?? to.ipv6;
  if (address === undefined) throw new Error(`${to.name} has no address`);
  const server = to.namespace.spawn(["iperf3", "--server", "--one-off", "--forceflush"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise((resolve) => server.once("close", resolve));
  let said = "";
  server.stdout?.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  try {
    await until(() => said.includes("listening"), { what: "iperf3 to listen" });
    const client = from.namespace.command(["iperf3", "--client", address, "--time", String(seconds), "--json"]);
    const result = await tryRun(client, { timeoutMs: seconds * 1_000 + DEADLINE_MS });
    const report = JSON.parse(result.stdout) as {
      error?: string;
      end?: { sum_received?: { bits_per_second: number } };
    };
    const bitsPerSecond = report.end?.sum_received?.bits_per_second;
    if (bitsPerSecond === undefined)
      throw new Error(`iperf3 from ${from.name} to ${to.name}: ${report.error ?? result.stderr}`);
    return bitsPerSecond;
  } finally {
    server.kill("SIGKILL");
    await ended;
  }
}
