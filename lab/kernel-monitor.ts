// Records what happens to links, addresses, routes, neighbours and forwarding entries of a namespace, with `ip monitor`
// as the witness. Marks of its own bound the recording, so that nothing before or after is mixed in.
import type { ChildProcess } from "node:child_process";
import type { Namespace } from "./namespace.ts";
import { until } from "./wait.ts";

/** Documentation addresses (RFC 5737) that come and go on the loopback device. */
const marks = { start: "198.51.100.1/32", end: "198.51.100.2/32" };

export class KernelMonitor implements AsyncDisposable {
  readonly #namespace: Namespace;
  readonly #child: ChildProcess;
  #text = "";

  private constructor(namespace: Namespace, child: ChildProcess) {
    this.#namespace = namespace;
    this.#child = child;
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#text += text;
    });
  }

  /** Returns when it records. */
  static async start(namespace: Namespace): Promise<KernelMonitor> {
    const argv = ["ip", "-o", "monitor", "link", "address", "route", "neigh", "nexthop"];
    const monitor = new KernelMonitor(namespace, namespace.spawn(argv, { stdio: ["ignore", "pipe", "ignore"] }));
    try {
      await until(async () => monitor.#sees(marks.start), { what: "ip monitor to record" });
      monitor.#text = "";
    } catch (error) {
      await monitor[Symbol.asyncDispose]();
      throw error;
    }
    return monitor;
  }

  /** What happened since `start`, one line for each event. */
  async lines(): Promise<readonly string[]> {
    await until(async () => this.#sees(marks.end), { what: "ip monitor to catch up" });
    return this.#text.split("\n").filter((line) => line.trim() !== "" && !line.includes("198.51.100."));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.kill("SIGKILL");
    await closed;
  }

  async #sees(mark: string): Promise<boolean> {
    await this.#namespace.ipBatch([`addr add ${mark} dev lo`, `addr del ${mark} dev lo`]);
    return this.#text.includes(mark);
  }
}
