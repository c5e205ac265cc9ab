// The embedded store as a process beside the agent: `flanneld --store=embedded`. It serves this host on loopback, is
// started again when it ends, and ends with the agent, however that ends.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { FlannelError } from "../../errors.ts";
import type { Logger } from "../../telemetry/logger.ts";

export interface EmbeddedStoreOptions {
  /** flannel-store's main module, for this very Node. */
  readonly program: string;
  /** The data goes into `store` below it. */
  readonly stateDirectory: string;
  readonly logger: Logger;
}

/** etcd's port and the ones behind it, until one is free. */
const FIRST_PORT = 2379;
const PORTS_TRIED = 100;
/** As in bin/launch.sh, with MALLOC_ARENA_MAX: no warning about SQLite on Node 22, and less memory. */
const nodeFlags = ["--disable-warning=ExperimentalWarning", "--max-semi-space-size=2"];
const START_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 3_000;
const RESTART_DELAY_MS = 500;

export class EmbeddedStoreProcess implements AsyncDisposable {
  readonly endpoint: string;
  readonly #options: EmbeddedStoreOptions;
  readonly #argv: readonly string[];
  readonly #stop = new AbortController();
  #child: ChildProcess | undefined;
  #kept: Promise<void> = Promise.resolve();

  private constructor(options: EmbeddedStoreOptions, port: number) {
    this.#options = options;
    this.endpoint = `http://127.0.0.1:${port}`;
    const directory = join(options.stateDirectory, "store");
    const listen = `127.0.0.1:${port}`;
    this.#argv = [...nodeFlags, options.program, "--data-dir", directory, "--listen", listen];
  }

  /** Resolves when it serves. Throws `STORE_UNAVAILABLE` with its own words when it cannot. */
  static async start(options: EmbeddedStoreOptions): Promise<EmbeddedStoreProcess> {
    mkdirSync(options.stateDirectory, { recursive: true, mode: 0o700 });
    const store = new EmbeddedStoreProcess(options, await freePort());
    await store.#spawn();
    store.#kept = store.#keepRunning();
    return store;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    const child = this.#child;
    if (child !== undefined && isRunning(child)) {
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await exited;
      clearTimeout(timer);
    }
    await this.#kept;
  }

  /** The channel between the processes closes when the agent dies, and the store ends then. */
  async #spawn(): Promise<void> {
    const child = spawn(process.execPath, this.#argv, {
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: { ...process.env, MALLOC_ARENA_MAX: "1" },
    });
    this.#child = child;
    let said = "";
    const { promise: serves, resolve } = Promise.withResolvers<void>();
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      if (text.includes("serving")) resolve();
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-2_000);
      this.#options.logger.warn("store.said", text.trim());
    });
    const ended = new Promise<string>((tell) => {
      child.once("error", (error) => tell(error.message));
      child.once("exit", () => tell(said.trim() || "it exited without a message"));
    });
    const late = delay(START_TIMEOUT_MS, `it was not ready within ${START_TIMEOUT_MS / 1_000} s`, { ref: false });
    const failure = await Promise.race([serves, ended, late]);
    if (typeof failure === "string") {
      child.kill("SIGKILL");
      throw new FlannelError("STORE_UNAVAILABLE", `cannot start the embedded store: ${failure}`, { retryable: true });
    }
  }

  async #keepRunning(): Promise<void> {
    const { logger } = this.#options;
    while (!this.#stop.signal.aborted) {
      const child = this.#child;
      if (child !== undefined && isRunning(child)) await once(child, "exit");
      if (this.#stop.signal.aborted) return;
      logger.warn("store.ended", "the embedded store ended: restarting it; forwarding continues");
      await delay(RESTART_DELAY_MS);
      try {
        await this.#spawn();
        logger.info("store.restarted", `the embedded store restarted on ${this.endpoint}`);
      } catch (error) {
        logger.error("store.restart-failed", "cannot restart the embedded store; retrying", { error });
      }
    }
  }
}

function isRunning({ exitCode, signalCode, pid }: ChildProcess): boolean {
  return pid !== undefined && exitCode === null && signalCode === null;
}

async function freePort(): Promise<number> {
  for (let port = FIRST_PORT; port < FIRST_PORT + PORTS_TRIED; port++) if (await isFree(port)) return port;
  const last = FIRST_PORT + PORTS_TRIED - 1;
  const message = `cannot start the embedded store: the ports ${FIRST_PORT} to ${last} of 127.0.0.1 are all in use`;
  throw new FlannelError("STORE_UNAVAILABLE", message);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
