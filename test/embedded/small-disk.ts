// A small file system that only those see that run in its mount namespace (`wrapper`), filled from here through `path`.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { DEADLINE_MS } from "../../lab/wait.ts";

/** Until the end of the scope. */
export class SmallDisk implements AsyncDisposable {
  readonly mount: string;
  readonly #holder: ChildProcess;

  private constructor(mount: string, holder: ChildProcess) {
    this.mount = mount;
    this.#holder = holder;
  }

  /** `directory` is the caller's and stays. */
  static async make(directory: string, name: string): Promise<SmallDisk> {
    const mount = join(directory, name);
    await mkdir(mount);
    const script = 'mount -t tmpfs -o size=6m none "$0" && echo mounted && exec sleep infinity';
    const argv = ["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", script, mount];
    const holder = spawn("setpriv", argv, { stdio: ["ignore", "pipe", "inherit"] });
    await once(holder.stdout, "data", { signal: AbortSignal.timeout(DEADLINE_MS) });
    return new SmallDisk(mount, holder);
  }

  get wrapper(): readonly string[] {
    return ["nsenter", "--mount", "--target", String(this.#holder.pid)];
  }

  path(name: string): string {
    return `/proc/${this.#holder.pid}/root${join(this.mount, name)}`;
  }

  /** To the last byte. */
  async fill(name: string): Promise<void> {
    await expect(writeFile(this.path(name), Buffer.alloc(8_000_000))).rejects.toThrow("ENOSPC");
  }

  /** Of a file that filled the disk. */
  async freePage(name: string): Promise<void> {
    const { size } = await stat(this.path(name));
    await truncate(this.path(name), size - 4_096);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#holder, "exit");
    this.#holder.kill("SIGKILL");
    await exited;
  }
}
