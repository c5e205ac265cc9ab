// A host of the lab that runs containers: directories of its own where programs of containers and flannel expect them, so
// that commands of the documentation run as they stand there. Debian's docker client is used: a newer one elsewhere in
// PATH may refuse to talk to Debian's daemon.
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { type CommandOptions, type CommandResult, run, tryRun } from "./command.ts";
import { Daemon } from "./daemon.ts";
import type { LabHost } from "./host.ts";
import { cgroupOfNode, makeCgroups, removeCgroups } from "./kubernetes/cgroups.ts";
import { boxNamespace } from "./namespace.ts";
import { DEADLINE_MS, until } from "./wait.ts";

const searchPath = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
const ownDirectories = ["/etc/docker", "/etc/cni", "/opt", "/var/lib", "/root", "/srv"];

/** The same for all hosts of the box, and for the box. */
export const sharedDirectory = "/run/shared";

/** $1: the host's name. /run keeps nothing of the box but the names of network namespaces. */
const boot = `
set -e
hostname "$1"
mkdir -p /run/machine && mount -t tmpfs none /run/machine && cd /run/machine
mkdir -p run/netns run/lock run/shared
mount --rbind /run/netns run/netns
mount --bind ${sharedDirectory} run/shared
for directory in ${ownDirectories.join(" ")}; do
  [ -d "$directory" ] || continue
  mount -t tmpfs none "$directory"
done
printf '127.0.0.1 localhost\\n' > run/hosts && mount --bind run/hosts /etc/hosts
: > run/resolv.conf && mount --bind run/resolv.conf /etc/resolv.conf
mount --rbind run /run
cd /
: > /run/up
while :; do
  sleep 3600 &
  wait $!
done
`;

export class ContainerHost implements AsyncDisposable {
  readonly host: LabHost;
  readonly #machine: ChildProcess;
  /** Of the first process, in the box. */
  readonly #pid: number;
  #docker: Daemon | undefined;

  private constructor(host: LabHost, machine: ChildProcess, pid: number) {
    this.host = host;
    this.#machine = machine;
    this.#pid = pid;
  }

  static async boot(host: LabHost): Promise<ContainerHost> {
    await makeCgroups(host.name);
    mkdirSync(sharedDirectory, { recursive: true });
    const namespaces = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=SIGKILL"];
    const options = [...namespaces, "--propagation", "private", "--mount-proc"];
    // Not through `ip netns exec`: that hides the control groups.
    const argv = ["nsenter", `--net=/run/netns/${host.name}`, "unshare", ...options, "sh", "-c", boot, "sh"];
    const machine = boxNamespace.spawn([...argv, host.name], { stdio: ["ignore", "ignore", "inherit"] });
    const parent = machine.pid ?? 0;
    const child = () => Number(readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8").trim().split(" ")[0]);
    const upPid = () => (existsSync(`/proc/${child()}/root/run/up`) ? child() : undefined);
    return new ContainerHost(host, machine, await until(upPid, { what: `${host.name} to be up` }));
  }

  /** For containers; the machine's control groups are shared by all boxes. */
  get cgroup(): string {
    return cgroupOfNode(this.host.name);
  }

  /** Where its files are seen from outside. */
  file(path: string): string {
    return `/proc/${this.#pid}/root${path}`;
  }

  /** Runs a script of the shell here; ends with its first failing command. */
  sh(script: string, options: CommandOptions = {}): Promise<string> {
    return run(this.#inside(["sh", "-euc", script]), { timeoutMs: 3 * DEADLINE_MS, ...options });
  }

  trySh(script: string): Promise<CommandResult> {
    return tryRun(this.#inside(["sh", "-euc", script]));
  }

  /** Returns when it answers; /run/docker.sock is where clients expect it. */
  async startDocker(args: readonly string[] = []): Promise<void> {
    const argv = this.#inside(["dockerd", `--cgroup-parent=${this.cgroup}`, ...args]);
    this.#docker = new Daemon("dockerd", boxNamespace, argv);
    this.#docker.start();
    await this.#docker.until("dockerd answers", async () => (await this.trySh("docker version")).exitCode === 0);
  }

  /** All its processes end at once, those of containers too. */
  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#machine.once("exit", resolve));
    this.#machine.kill("SIGKILL");
    await ended;
    await this.#docker?.stop();
    await removeCgroups(this.host.name);
  }

  #inside(argv: readonly string[]): readonly string[] {
    const enter = ["nsenter", `--target=${this.#pid}`, "--mount", "--pid", "--uts", "--ipc", "--net"];
    return [...enter, "env", "-u", "DOCKER_HOST", "-u", "TMPDIR", searchPath, "HOME=/root", ...argv];
  }
}
