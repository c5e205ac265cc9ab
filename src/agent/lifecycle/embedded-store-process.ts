// The embedded store as a process beside the agent: `flanneld --store=embedded`. It serves root on this host over a Unix
// socket, is started again when it ends, and ends with the agent, however that ends.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { FlannelError } from "../../errors.ts";
import { MAX_SOCKET_PATH_BYTES } from "../../sys/socket-file.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { embeddedStoreDirectory, embeddedStoreSocket } from "../control/embedded-store-socket.ts";

export interface EmbeddedStoreOptions {
  /** flannel-store's main module, for this very Node. */
  readonly program: string;
  /** The data goes into `store` below it. */
  readonly stateDirectory: string;
  /** `127.0.0.1:2379`: an address to serve every user of this host on, besides the socket. */
  readonly listen?: string;
  readonly logger: Logger;
}

/** As in bin/launch.sh, with MALLOC_ARENA_MAX: no debugger, no warning about SQLite on Node 22, and less memory. */
const nodeFlags = ["--disable-sigusr1", "--disable-warning=ExperimentalWarning", "--max-semi-space-size=2"];
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

  private constructor(options: EmbeddedStoreOptions) {
    const { stateDirectory, program, listen } = options;
    this.#options = options;
    const socket = `unix://${embeddedStoreSocket(stateDirectory)}`;
    this.endpoint = socket;
    const targets = [socket, ...(listen === undefined ? [] : [listen])].flatMap((target) => ["--listen", target]);
    this.#argv = [...nodeFlags, program, "--data-dir", embeddedStoreDirectory(stateDirectory), ...targets];
  }

  /** Resolves when it serves. Throws `STORE_UNAVAILABLE` with its own words when it cannot, `USAGE` for a long path. */
  static async start(given: EmbeddedStoreOptions): Promise<EmbeddedStoreProcess> {
    const options = { ...given, stateDirectory: resolve(given.stateDirectory) };
    checkSocketPath(options.stateDirectory);
    mkdirSync(options.stateDirectory, { recursive: true, mode: 0o700 });
    const store = new EmbeddedStoreProcess(options);
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
    const ended = new Promise<string>((fail) => {
      child.once("error", (error) => fail(error.message));
      child.once("exit", () => fail(said.trim() || "it exited without a message"));
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

function checkSocketPath(stateDirectory: string): void {
  const tooMany = Buffer.byteLength(embeddedStoreSocket(stateDirectory)) - MAX_SOCKET_PATH_BYTES;
  if (tooMany <= 0) return;
  const longest = Buffer.byteLength(stateDirectory) - tooMany;
  throw new FlannelError(
    "USAGE",
    `--state-dir ${stateDirectory} is too long for the socket of the embedded store in it: at most ${longest} bytes`,
  );
}
