// `ip monitor` over all network namespaces at once: when did how many hosts get a route? One process, so that the witness
// costs the same however many hosts there are.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { boxNamespace } from "../lab/namespace.ts";
import { until } from "../lab/wait.ts";

/** An address of RFC 5737 whose route shows that the witness records. */
const mark = "198.51.100.0/24";

interface Expected {
  readonly hosts: number;
  readonly atEpochMs: number[];
  readonly done: PromiseWithResolvers<readonly number[]>;
}

export class RouteWitness implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #expected = new Map<string, Expected>();
  #isRecording = false;

  private constructor(child: ChildProcess) {
    this.#child = child;
    // Times are the kernel's clock as `ip` reads it after each message, in microseconds.
    if (child.stdout === null) throw new Error("ip monitor has no output");
    createInterface({ input: child.stdout }).on("line", (line) => this.#see(line));
  }

  /** Returns when it records. It hears the namespaces to which the current one has a link. */
  static async start(): Promise<RouteWitness> {
    const argv = ["-4", "-ts", "-o", "monitor", "route", "all-nsid"];
    const environment = { ...process.env, TZ: "UTC" };
    const witness = new RouteWitness(spawn("ip", argv, { stdio: ["ignore", "pipe", "inherit"], env: environment }));
    try {
      const recording = async () => {
        await boxNamespace.ipBatch([`route add blackhole ${mark}`, `route del blackhole ${mark}`]);
        return witness.#isRecording;
      };
      await until(recording, { what: "ip monitor to record" });
      return witness;
    } catch (error) {
      await witness[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Milliseconds since the epoch at which each of `hosts` hosts got a route to `subnet`, in this order. */
  expect(subnet: string, hosts: number): Promise<readonly number[]> {
    const expected: Expected = { hosts, atEpochMs: [], done: Promise.withResolvers() };
    this.#expected.set(subnet, expected);
    return expected.done.promise;
  }

  #see(line: string): void {
    const [, time, rest] = /^\[([^\]]+)\] \[nsid [^\]]+\](.*)$/.exec(line) ?? [];
    if (time === undefined || rest === undefined) return;
    const subnet = rest.trim().split(" ")[0] ?? "";
    if (rest.includes(mark)) this.#isRecording = true;
    const expected = this.#expected.get(subnet);
    if (expected === undefined) return;
    expected.atEpochMs.push(Date.parse(`${time.slice(0, 23)}Z`) + Number(time.slice(23)) / 1_000);
    if (expected.atEpochMs.length < expected.hosts) return;
    this.#expected.delete(subnet);
    expected.done.resolve(expected.atEpochMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.kill("SIGKILL");
    await closed;
  }
}
