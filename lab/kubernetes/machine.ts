// A machine of the lab on which containers run: a host of the LAN with file systems and processes of its own. It can be
// switched off and on; its disk is in the box's memory.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type CommandResult, run, tryRun } from "../command.ts";
import { Daemon } from "../daemon.ts";
import type { LabHost } from "../host.ts";
import { Namespace } from "../namespace.ts";
import { until } from "../wait.ts";
import { makeCgroups, removeCgroups } from "./cgroups.ts";

export interface MachineOptions {
  /** Where the CNI plugins are that /opt/cni/bin gets. Default: Debian's. */
  readonly cniPlugins?: string;
}

const firstProcess = fileURLToPath(new URL("machine.sh", import.meta.url));
const namespaces = ["--mount", "--uts", "--pid", "--ipc", "--fork", "--propagation", "private", "--mount-proc"];

export class Machine implements AsyncDisposable {
  readonly host: LabHost;
  readonly #cniPlugins: string;
  #process: ChildProcess | undefined;
  /** Pid of the first process, as the box sees it. */
  #pid = 0;

  constructor(host: LabHost, { cniPlugins = "/usr/lib/cni" }: MachineOptions = {}) {
    this.host = host;
    this.#cniPlugins = cniPlugins;
  }

  get name(): string {
    return this.host.name;
  }

  /** Seen from the box; its folder `lab` is /run/lab in the machine. */
  get disk(): string {
    return `/run/machines/${this.name}`;
  }

  /** Makes a file of /run/lab. */
  async write(name: string, text: string): Promise<void> {
    const directory = join(this.disk, "lab");
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, name), text);
  }

  /** Switches it on, also again after `powerOff`: what was on its disk is there. */
  async boot(): Promise<void> {
    await makeCgroups(this.name);
    await mkdir(join(this.disk, "lab"), { recursive: true });
    await rm(join(this.disk, "lab/up"), { force: true });
    const enter = ["nsenter", `--net=/run/netns/${this.name}`, "unshare", ...namespaces, "--kill-child=SIGKILL"];
    const first = ["sh", firstProcess, this.name, this.disk, this.#cniPlugins];
    const argv = ["setpriv", "--pdeathsig", "KILL", "--", ...enter, ...first];
    const machine = spawn(argv[0] ?? "", argv.slice(1), { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    machine.stderr.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-2_000);
    });
    this.#process = machine;
    const look = () => {
      if (machine.exitCode !== null || machine.signalCode !== null) return "ended";
      return existsSync(join(this.disk, "lab/up")) ? "up" : undefined;
    };
    if ((await until(look, { what: `${this.name} to boot` })) === "ended") {
      throw new Error(`${this.name} did not boot: ${said}`);
    }
    // `unshare` has one child: the machine's first process.
    this.#pid = Number(readFileSync(`/proc/${machine.pid}/task/${machine.pid}/children`, "utf8").trim());
  }

  /**
   * All processes end at once; /run is gone, and the control groups, which are the kernel's. The network namespace stays: see
   * `lan.replaceHost`.
   */
  async powerOff(): Promise<void> {
    const machine = this.#process;
    this.#process = undefined;
    if (machine === undefined || machine.exitCode !== null || machine.signalCode !== null) return;
    const closed = new Promise((resolve) => machine.once("close", resolve));
    machine.kill("SIGKILL");
    await closed;
    await until(() => !existsSync(`/proc/${this.#pid}`), { what: `the processes of ${this.name} to end` });
    await removeCgroups(this.name);
  }

  /** Runs a program in the machine. */
  run(argv: readonly string[], input = ""): Promise<string> {
    return run(this.#inside(argv), { input });
  }

  tryRun(argv: readonly string[], input = ""): Promise<CommandResult> {
    return tryRun(this.#inside(argv), { input });
  }

  /** A program that goes on running here, not started yet. It dies with the machine. */
  daemon(name: string, argv: readonly string[]): Daemon {
    // Dies with its `nsenter`, which waits outside of the machine's process namespace.
    const command = this.#inside(["setpriv", "--pdeathsig", "KILL", "--", ...argv]);
    return new Daemon(`${name} on ${this.name}`, new Namespace(""), command);
  }

  /** Kills the one process of that name: -9. */
  async kill(name: string): Promise<void> {
    const pids = (await this.run(["pgrep", "-x", name])).trim().split("\n");
    if (pids.length !== 1) throw new Error(`${this.name} has ${pids.length} processes ${name}: ${pids.join(" ")}`);
    await this.run(["kill", "-9", pids[0] ?? ""]);
  }

  /** Text of a file of the machine. */
  readFile(path: string): string {
    return readFileSync(this.outside(path), "utf8");
  }

  exists(path: string): boolean {
    return existsSync(this.outside(path));
  }

  /** Where a file of the machine is seen from the box. */
  outside(path: string): string {
    return `/proc/${this.#pid}/root${path}`;
  }

  /** Makes an image known to containerd, from an archive. `ctr`: the program. */
  async importImage(archive: string, ctr = "ctr"): Promise<void> {
    const local = join(this.disk, "lab/image.tar");
    await copyFile(archive, local);
    const result = await this.tryRun([ctr, "-n", "k8s.io", "images", "import", "/run/lab/image.tar"]);
    await rm(local);
    if (result.exitCode !== 0) throw new Error(`${this.name}: ${archive} could not be imported: ${result.stderr}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.powerOff();
    await removeCgroups(this.name);
    await rm(this.disk, { recursive: true, force: true });
  }

  #inside(argv: readonly string[]): readonly string[] {
    const into = ["--mount", "--uts", "--net", "--ipc", "--pid"];
    return ["nsenter", `--target=${this.#pid}`, ...into, "--", ...argv];
  }
}
