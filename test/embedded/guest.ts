// A second Linux kernel that runs as a process (user-mode-linux): the machine's files read-only, a disk of its own. Killing
// it is what pulling the plug is to a machine: what its kernel had not yet written to the disk is gone.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { DEADLINE_MS } from "../../lab/wait.ts";

const run = promisify(execFile);

const DISK_BYTES = 128 * 1024 * 1024;

/** A file with a file system, and the guests that run on it one after the other. Goes with `await using`. */
export class GuestDisk implements AsyncDisposable {
  readonly #directory: string;
  readonly #onExit: () => void;

  private constructor(directory: string) {
    this.#directory = directory;
    this.#onExit = () => rmSync(directory, { recursive: true, force: true });
    process.once("exit", this.#onExit);
  }

  static async create(): Promise<GuestDisk> {
    const disk = new GuestDisk(await mkdtemp(join(tmpdir(), "flannel-guest-")));
    await writeFile(disk.#image, "");
    await truncate(disk.#image, DISK_BYTES);
    await run("mke2fs", ["-q", "-t", "ext4", "-F", disk.#image]);
    return disk;
  }

  /** Starts a guest that runs the shell commands with the disk on /mnt. */
  async boot(commands: string): Promise<Guest> {
    const script = join(this.#directory, "init.sh");
    await writeFile(script, `${prepare}\n${commands}\n`);
    return new Guest([`ubd0=${this.#image}`], script);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
    process.off("exit", this.#onExit);
  }

  get #image(): string {
    return join(this.#directory, "disk");
  }
}

const prepare = `exec 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/mnt
mount -t proc none /proc && ip link set dev lo up && mount -t ext4 /dev/ubda /mnt || echo BROKEN
`;

/** One life of a guest. */
export class Guest implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #output = "";

  constructor(disks: readonly string[], script: string) {
    const root = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"];
    const console = ["con=null", "con0=null,fd:1", "con1=null", "quiet"];
    const kernel = ["linux.uml", "mem=512M", ...root, ...disks, ...console, "init=/bin/sh", "--", script];
    // The kernel is several processes: they go together with their process namespace, also when the test dies.
    const namespace = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "sh", "-c", '"$@"; exit $?', "guest"];
    this.#child = spawn("setpriv", ["--pdeathsig", "KILL", ...namespace, ...kernel], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    // Not before the last of them has let go of the pipe.
    this.#closed = once(this.#child, "close");
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#output += text;
      this.#child.emit("output");
    });
  }

  /** Whole lines that it has written to its console so far. */
  get lines(): readonly string[] {
    return this.#output.split(/\r?\n/).slice(0, -1);
  }

  /** Resolves when a line starts with `start`. Throws with all that the guest said when none comes in time. */
  async says(start: string, timeoutMs = 3 * DEADLINE_MS): Promise<void> {
    const guard = AbortSignal.timeout(timeoutMs);
    while (!this.lines.some((line) => line.startsWith(start))) {
      if (guard.aborted || this.#child.exitCode !== null) throw new Error(`no "${start}" from: ${this.#output}`);
      await Promise.race([once(this.#child, "output", { signal: guard }), this.#closed]).catch(() => undefined);
    }
  }

  /** At once, wherever it is. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
