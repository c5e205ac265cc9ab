// What the agent holds open under /run: the lock of its subnet file, the claims to its devices, its control socket. Whoever
// empties the directory, they come back.
import { dirname } from "node:path";
import { describeError } from "../../errors.ts";
import type { FileLock } from "../../sys/file-lock.ts";
import { ensureDirectory } from "../../sys/files.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { ControlServer } from "../control/control-server.ts";
import type { Network } from "./network.ts";
import { RestoredFiles } from "./restored-files.ts";

export interface HeldFiles {
  readonly lock: FileLock;
  /** Missing in what one of several networks holds. */
  readonly control?: ControlServer;
  /** Of the network that is open. */
  readonly claims?: () => Pick<Network, "renew"> | undefined;
}

export class RunFiles {
  readonly #logger: Logger;
  readonly #held: HeldFiles;
  readonly #restored: RestoredFiles;
  /** What fails now, by file. */
  readonly #failing = new Map<string, string>();

  constructor(held: HeldFiles, logger: Logger) {
    this.#held = held;
    this.#logger = logger;
    this.#restored = new RestoredFiles(logger);
  }

  /** To be called now and then. Never throws: what cannot be put back is reported, and tried at the next call. */
  tick(): void {
    const { lock, control, claims } = this.#held;
    this.#try(lock.path, () => {
      ensureDirectory(dirname(lock.path), 0o755);
      return lock.renew() ? [lock.path] : [];
    });
    this.#try("the claims to devices", () => claims?.()?.renew() ?? []);
    if (control !== undefined) this.#renewSocket(control);
  }

  #renewSocket(control: ControlServer): void {
    control.renew().then(
      (wasGone) => {
        if (wasGone) this.#restored.log(control.path);
        this.#failing.delete(control.path);
      },
      (error: unknown) => this.#fail(control.path, error),
    );
  }

  #try(file: string, renew: () => readonly string[]): void {
    try {
      for (const path of renew()) this.#restored.log(path);
      this.#failing.delete(file);
    } catch (error) {
      this.#fail(file, error);
    }
  }

  #fail(file: string, error: unknown): void {
    const text = describeError(error);
    if (this.#failing.get(file) === text) return;
    this.#failing.set(file, text);
    this.#logger.error("files.not-restored", `cannot put ${file} back; retrying`, { error: text });
  }
}
