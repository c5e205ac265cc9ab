// A long-running program of the lab: what it says is kept, and it can be killed, paused and started again.
import type { ChildProcess } from "node:child_process";
import type { Namespace } from "./namespace.ts";
import { until } from "./wait.ts";

const MAX_LOG_LENGTH = 200_000;

export class Daemon implements AsyncDisposable {
  readonly name: string;
  readonly #namespace: Namespace;
  readonly #argv: readonly string[];
  #child: ChildProcess | undefined;
  #log = "";
  #logOfThisRun = "";

  constructor(name: string, namespace: Namespace, argv: readonly string[]) {
    this.name = name;
    this.#namespace = namespace;
    this.#argv = argv;
  }

  /** Its own words since the first start, the last of them, for a failing test. */
  get log(): string {
    return this.#log;
  }

  /** Since its last start. */
  get logOfThisRun(): string {
    return this.#logOfThisRun;
  }

  /** 0 when it does not run. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Also after a stop. Returns at once. */
  start(): void {
    this.#logOfThisRun = "";
    const child = this.#namespace.spawn(this.#argv, { stdio: ["ignore", "pipe", "pipe"] });
    child.on("error", (error) => {
      this.#log += `${error.message}\n`;
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#log = (this.#log + text).slice(-MAX_LOG_LENGTH);
        if (child === this.#child) this.#logOfThisRun = (this.#logOfThisRun + text).slice(-MAX_LOG_LENGTH);
      });
    }
    this.#child = child;
  }

  /** Waits until `look` is content, and no longer than the program lives. The error has its last words. */
  async until(what: string, look: () => Promise<boolean>): Promise<void> {
    const lookOnce = async () => this.hasEnded || (await look());
    try {
      await until(lookOnce, { what });
      if (this.hasEnded) throw new Error(`it ended before ${what}`);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${this.name}: ${reason}\n--- its last words:\n${this.#log.slice(-4_000)}`, { cause: error });
    }
  }

  /** Kills it, paused or not, and waits for its end; nothing happens when it does not run. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = new Promise((resolve) => child.once("close", resolve));
    child.kill("SIGKILL");
    await closed;
  }

  /** Answers nothing any more but keeps its connections: a black hole. */
  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** By itself, or stopped, or never started. */
  get hasEnded(): boolean {
    const child = this.#child;
    return child === undefined || child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
  }
}
