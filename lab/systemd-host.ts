// A lab host that runs under a real systemd of its own: booted in new namespaces on top of the host's network, on this
// machine's root or on another, with all changes kept in memory, with nothing enabled.
import type { ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { type CommandOptions, type CommandResult, run, tryRun } from "./command.ts";
import type { LabHost } from "./host.ts";
import { boxNamespace } from "./namespace.ts";
import { until } from "./wait.ts";

/** Sees cgroups of all kernels alike: wherever the machine has its own, this is a second mount of them. */
const cgroups = "/run/lab-cgroups";

/** $1: a directory for the overlay; $2: what lies below it, several layers with colons between them, the upper ones first. */
const boot = `
set -e
mount -t tmpfs none "$1" && mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" none "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 none sys/fs/cgroup
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 none dev
mkdir dev/net
for device in null zero full random urandom tty net/tun; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts devpts dev/pts
mount -t tmpfs none dev/shm
ln -s /proc/self/fd dev/fd && ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=755 none run
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires
ln -sf /dev/null etc/tmpfiles.d/tmp.conf # it empties /tmp, where the checkout may be
# It would give eth0 an address that follows from the machine's id: the same on all hosts.
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket; do
  ln -sf /dev/null etc/systemd/system/$unit
done
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\n' > etc/systemd/system/lab.target
mkdir .before && pivot_root . .before && cd / && umount -l /.before
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=lab.target --log-level=err --show-status=0
`;

export class SystemdHost implements AsyncDisposable {
  readonly host: LabHost;
  readonly #child: ChildProcess;
  readonly #cgroup: string;
  /** Of systemd, as we see it. */
  readonly #pid: number;

  private constructor(host: LabHost, child: ChildProcess, cgroup: string, pid: number) {
    this.host = host;
    this.#child = child;
    this.#cgroup = cgroup;
    this.#pid = pid;
  }

  /** Resolves when it runs services. `root`: a directory with a whole system, or layers as of $2 above. */
  static async boot(host: LabHost, root = "/"): Promise<SystemdHost> {
    const cgroup = await makeCgroup(host.name);
    const directory = `/run/systemd-${host.name}`;
    mkdirSync(directory, { recursive: true });
    const namespaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child=SIGKILL"];
    const inCgroup = ["sh", "-c", `echo $$ > ${cgroup}/cgroup.procs && exec "$@"`, "sh"];
    const argv = [
      ...inCgroup,
      ...host.namespace.command(["unshare", ...namespaces, "sh", "-c", boot, "sh", directory, root]),
    ];
    const child = boxNamespace.spawn(argv, { stdio: ["ignore", "ignore", "inherit"] });
    const pid = await until(() => systemdBelow(child.pid ?? 0), { what: `systemd to be process 1 of ${host.name}` });
    const systemd = new SystemdHost(host, child, cgroup, pid);
    const isRunning = async () =>
      /^(running|degraded)/.test((await systemd.tryRun(["systemctl", "is-system-running"])).stdout);
    await until(isRunning, { what: `systemd to run ${host.name}`, intervalMs: 100 });
    return systemd;
  }

  /** Where its files are seen from outside. */
  file(path: string): string {
    return `/proc/${this.#pid}/root${path}`;
  }

  run(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
    return run(this.#enter(argv), options);
  }

  tryRun(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return tryRun(this.#enter(argv), options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await ended;
    const isGone = () => {
      removeCgroups(this.#cgroup);
      return true;
    };
    await until(isGone, { what: `the processes of ${this.host.name} to be gone` });
  }

  #enter(argv: readonly string[]): readonly string[] {
    return ["nsenter", `--target=${this.#pid}`, "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", ...argv];
  }
}

async function makeCgroup(name: string): Promise<string> {
  mkdirSync(cgroups, { recursive: true });
  if (readdirSync(cgroups).length === 0) await run(["mount", "-t", "cgroup2", "none", cgroups]);
  // Not by pid: cgroups are shared between pid namespaces, and a killed run leaves its own behind.
  return mkdtempSync(join(cgroups, `flannel-lab-${name}-`));
}

/** Fails while processes are in them. */
function removeCgroups(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroups(join(directory, entry.name));
  }
  rmdirSync(directory);
}

/** The process that systemd has become below `unshare`. */
function systemdBelow(pid: number): number | undefined {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  const found = children.find((child) => readFileSync(`/proc/${child}/comm`, "utf8").trim() === "systemd");
  return found === undefined ? undefined : Number(found);
}
