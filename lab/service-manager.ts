// A service manager as far as a service sees one: a socket that takes its notifications (sd_notify).
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { DEADLINE_MS, until } from "./wait.ts";

export class ServiceManager implements AsyncDisposable {
  /** For the service's `NOTIFY_SOCKET`. */
  readonly socketPath: string;
  readonly #receiver: ChildProcess;
  readonly #received: { readonly text: string; readonly atMs: number }[] = [];

  private constructor(socketPath: string, receiver: ChildProcess) {
    this.socketPath = socketPath;
    this.#receiver = receiver;
    receiver.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#received.push({ text, atMs: performance.now() });
    });
  }

  /** Listens when it returns. Node has no datagram sockets of that kind, so socat receives. */
  static async start(socketPath: string): Promise<ServiceManager> {
    const receiver = spawn("socat", ["-u", `UNIX-RECV:${socketPath}`, "STDOUT"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    // A socat that is missing shows as a socket that never appears.
    receiver.on("error", () => undefined);
    const manager = new ServiceManager(socketPath, receiver);
    await until(() => existsSync(socketPath), { what: `socat to listen on ${socketPath}` });
    return manager;
  }

  /** When a datagram with this text (`READY=1`) first came, on the clock of `performance.now()`. */
  async untilNotified(text: string, timeoutMs = DEADLINE_MS): Promise<number> {
    const look = () => this.#received.find((datagram) => datagram.text.includes(text));
    return (await until(look, { what: `the notification ${text}`, timeoutMs, intervalMs: 2 })).atMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#receiver.kill("SIGKILL");
    await rm(this.socketPath, { force: true });
  }
}
