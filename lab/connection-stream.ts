// A stream of new TCP connections from a namespace to a server in this process: what the server saw of where they come
// from, and how many were not answered or refused.
import type { ChildProcess } from "node:child_process";
import { createServer, type Server } from "node:net";
import type { Namespace } from "./namespace.ts";
import { until } from "./wait.ts";

export interface StreamReport {
  readonly opened: number;
  /** What became of the others, by the kernel's word for it (ECONNREFUSED, EHOSTUNREACH, timeout, …). */
  readonly failed: Readonly<Record<string, number>>;
  /** Addresses the server saw, with the number of connections from each. */
  readonly sources: ReadonlyMap<string, number>;
}

const client = `
const net = require("node:net");
const [host, port, intervalMs] = [process.argv[1], Number(process.argv[2]), Number(process.argv[3])];
let opened = 0, open = 0; const failed = {};
const fail = (reason) => { failed[reason] = (failed[reason] ?? 0) + 1; };
const timer = setInterval(() => {
  open++;
  const socket = net.connect({ host, port });
  const guard = setTimeout(() => socket.destroy(new Error("timeout")), 900);
  socket.once("connect", () => { opened++; socket.destroy(); });
  socket.once("error", (error) => fail(error.code ?? error.message));
  socket.once("close", () => { open--; clearTimeout(guard); });
}, intervalMs);
process.once("SIGTERM", () => {
  clearInterval(timer);
  const wait = setInterval(() => {
    if (open > 0) return;
    clearInterval(wait);
    console.log(JSON.stringify({ opened, failed }));
    process.exit(0);
  }, 10);
});
`;

/** Listens in the network namespace of this process and notes who connects. */
export class SourceRecorder implements AsyncDisposable {
  readonly sources = new Map<string, number>();
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      const address = (socket.remoteAddress ?? "").replace(/^::ffff:/, "");
      this.sources.set(address, (this.sources.get(address) ?? 0) + 1);
      socket.on("error", () => undefined).destroy();
    });
  }

  static async listen(port: number): Promise<SourceRecorder> {
    const server = createServer();
    const recorder = new SourceRecorder(server);
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, "::", resolve));
    return recorder;
  }

  get total(): number {
    return [...this.sources.values()].reduce((sum, count) => sum + count, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export class ConnectionStream implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #recorder: SourceRecorder;
  readonly #closed: Promise<unknown>;
  #output = "";

  private constructor(child: ChildProcess, recorder: SourceRecorder) {
    this.#child = child;
    this.#recorder = recorder;
    this.#closed = new Promise((resolve) => child.once("close", resolve));
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#output += text;
    });
  }

  /** Returns after the first connection. A new one is opened every `intervalMs`, default 3. */
  static async start(from: Namespace, address: string, port: number, intervalMs = 3): Promise<ConnectionStream> {
    const recorder = await SourceRecorder.listen(port);
    const argv = [process.execPath, "-e", client, address, String(port), String(intervalMs)];
    const stream = new ConnectionStream(from.spawn(argv, { stdio: ["ignore", "pipe", "inherit"] }), recorder);
    try {
      await stream.more(1);
    } catch (error) {
      await stream[Symbol.asyncDispose]();
      throw error;
    }
    return stream;
  }

  /** Waits for that many further connections. */
  async more(count: number): Promise<void> {
    const goal = this.#recorder.total + count;
    await until(() => this.#recorder.total >= goal, { what: `${count} more connections` });
  }

  async stop(): Promise<StreamReport> {
    this.#child.kill("SIGTERM");
    await this.#closed;
    await this.#recorder[Symbol.asyncDispose]();
    const { opened, failed } = JSON.parse(this.#output) as Pick<StreamReport, "opened" | "failed">;
    return { opened, failed, sources: this.#recorder.sources };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#closed;
    await this.#recorder[Symbol.asyncDispose]();
  }
}
