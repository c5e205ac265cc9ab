// A real Docker daemon on a lab host, with containers of a tiny image made on the spot. Debian's client is used: a newer
// one elsewhere in PATH may refuse to talk to Debian's daemon.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, rm, rmdir, symlink } from "node:fs/promises";
import { run } from "./command.ts";
import type { LabHost } from "./host.ts";
import { until } from "./wait.ts";

export interface DockerOptions {
  /** As `mk-docker-opts` would have given them: --bip, --mtu, --ip-masq. */
  readonly args: readonly string[];
}

const client = "/usr/bin/docker";
const image = "lab:1";
const applets = ["sh", "ping", "nc", "cat", "sleep"];
const cgroupControllers = ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "systemd"];

export class Docker implements AsyncDisposable {
  readonly host: LabHost;
  readonly #directory: string;
  #child: ChildProcess | undefined;
  #closed: Promise<unknown> = Promise.resolve();
  #output = "";

  private constructor(host: LabHost) {
    this.host = host;
    this.#directory = `/run/docker-${host.name}`;
  }

  /** Returns when it answers. */
  static async start(host: LabHost, options: DockerOptions): Promise<Docker> {
    const docker = new Docker(host);
    await docker.up(options);
    return docker;
  }

  /** Starts the stopped daemon again, with other options or the same. */
  async up({ args }: DockerOptions): Promise<void> {
    const directory = this.#directory;
    await mkdir(directory, { recursive: true });
    const files = [`--data-root=${directory}/data`, `--exec-root=${directory}/exec`, `--pidfile=${directory}/pid`];
    const argv = ["dockerd", ...files, `--host=unix://${directory}/sock`, `--cgroup-parent=${this.#cgroup}`, ...args];
    // Not through `ip netns exec`: that hides the cgroups from it.
    const command = ["nsenter", `--net=/run/netns/${this.host.name}`, ...argv];
    const child = spawn(command[0] ?? "", command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#output += text;
      });
    }
    this.#child = child;
    this.#closed = new Promise((resolve) => child.once("close", resolve));
    const look = () => this.#docker("version").catch((error: unknown) => this.#failure(error));
    await until(look, { what: `dockerd on ${this.host.name}` });
  }

  /** Shows what the daemon said. */
  #failure(error: unknown): never {
    throw new Error(`${String(error)}\n${this.#output.slice(-3_000)}`);
  }

  /** Stops the daemon and its containers. */
  async down(): Promise<void> {
    const running = (await this.#docker("ps", "-q")).split("\n").filter((id) => id !== "");
    if (running.length > 0) await this.#docker("kill", ...running);
    this.#child?.kill("SIGTERM");
    await this.#closed;
    this.#child = undefined;
  }

  /** A container that does nothing; gives its address on docker0. `options`: further ones of `docker run`. */
  async container(name: string, ...options: readonly string[]): Promise<string> {
    if ((await this.#docker("images", "-q", image)) === "") await this.#importImage();
    await this.#docker("run", "-d", "--rm", "--init", "--name", name, ...options, image, "/sleep", "3600");
    return (await this.#docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)).trim();
  }

  /** Runs a program in a container and gives what it wrote; throws unless it ends with 0. */
  exec(name: string, ...argv: readonly string[]): Promise<string> {
    return this.#docker("exec", name, ...argv);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child !== undefined) await this.down();
    // All else is gone with the box; control groups are the machine's.
    for (const controller of [...cgroupControllers, "unified", "."]) {
      await rmdir(`/sys/fs/cgroup/${controller}${this.#cgroup}`).catch(() => undefined);
    }
  }

  get #cgroup(): string {
    return `/flannel-lab-${process.ppid}-${this.host.name}`;
  }

  #docker(...args: readonly string[]): Promise<string> {
    return run([client, "--host", `unix://${this.#directory}/sock`, ...args]);
  }

  async #importImage(): Promise<void> {
    const root = `${this.#directory}/image`;
    await rm(root, { recursive: true, force: true });
    await mkdir(root);
    await run(["cp", "/bin/busybox", root]);
    for (const applet of applets) await symlink("busybox", `${root}/${applet}`);
    await run(["tar", "-C", root, "-cf", `${root}.tar`, "."]);
    await this.#docker("import", `${root}.tar`, image);
  }
}
