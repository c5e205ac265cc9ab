// Hosts with a system of their own that packages are installed on, and what each form of package is installed with.
import { copyFileSync, mkdtempSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "../../lab/command.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { readSubnetEnv } from "../../lab/subnet-env.ts";
import { SystemdHost } from "../../lab/systemd-host.ts";
import { DEADLINE_MS, until } from "../../lab/wait.ts";
import type { Architecture } from "../../packaging/architecture.ts";

const packaging = fileURLToPath(new URL("../../packaging/package.ts", import.meta.url));
const long = { timeoutMs: 3 * DEADLINE_MS };

export type PackageForm = "deb" | "rpm" | "tar";

export interface PackageChoice {
  readonly machine?: Architecture["name"];
  /** Compressed, as they are published: takes minutes. */
  readonly isSmall?: boolean;
}

/** Makes a package of this checkout, in a directory of its own. Gives the file. */
export async function makePackage(form: PackageForm, version: string, choice: PackageChoice = {}): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "packages-"));
  const { machine = "amd64", isSmall = false } = choice;
  const options = [form, ...(isSmall ? [] : ["--fast"]), `--arch=${machine}`, `--version=${version}`];
  const { timeoutMs } = long;
  await run([process.execPath, packaging, ...options, `--out=${directory}`], {
    timeoutMs: isSmall ? 4 * timeoutMs : timeoutMs,
  });
  const name = (await readdir(directory)).find((file) => !file.startsWith("SHA256"));
  return join(directory, name ?? "");
}

/** What a distribution installs packages with: commands for a shell. */
export interface PackageTool {
  readonly form: "deb" | "rpm";
  /** `file` may be of a version that is older than the installed one. */
  install(file: string): string;
  readonly remove: string;
  /** What takes configuration and data along, where the tool knows that. */
  readonly purge: string | undefined;
}

export const dpkg: PackageTool = {
  form: "deb",
  install: (file) => `DEBIAN_FRONTEND=noninteractive dpkg --install ${file}`,
  remove: "dpkg --remove flannel",
  purge: "dpkg --purge flannel",
};

/** A Debian with rpm: it knows of no other package, so dependencies are not looked at. */
export const rpm: PackageTool = {
  form: "rpm",
  install: (file) => `rpm --dbpath /root/rpm -U --oldpackage --nodeps ${file}`,
  remove: "rpm --dbpath /root/rpm --erase flannel",
  purge: undefined,
};

export class InstalledHost {
  readonly system: SystemdHost;

  constructor(system: SystemdHost) {
    this.system = system;
  }

  sh(script: string): Promise<string> {
    return this.system.run(["sh", "-euc", `exec 2>&1; ${script}`], long);
  }

  /** The file's name on the host. */
  place(file: string): string {
    const name = `/root/${basename(file)}`;
    copyFileSync(file, this.system.file(name));
    return name;
  }

  async isActive(unit: string): Promise<boolean> {
    return (await this.system.tryRun(["systemctl", "is-active", unit])).stdout.trim() === "active";
  }

  async mainPid(unit: string): Promise<string> {
    return (await this.system.run(["systemctl", "show", "--property=MainPID", "--value", unit])).trim();
  }

  /** Installs over what runs, and waits until the new agent has taken over. */
  async upgrade(command: string): Promise<void> {
    const pid = await this.mainPid("flanneld");
    await this.sh(command);
    const isReplaced = async () => (await this.mainPid("flanneld")) !== pid && this.isActive("flanneld");
    await until(isReplaced, { what: "the new agent", intervalMs: 100 });
    await this.sh("flannelctl wait");
  }

  async attachPod(): Promise<Pod> {
    const env = await readSubnetEnv(this.system.file("/run/flannel/subnet.env"));
    if (env === undefined) throw new Error("there is no subnet.env");
    return attachPod(this.system.host, env);
  }
}

/** Two hosts on a LAN, on systems of their own. `root`: a directory with a whole system. */
export async function bootTwo(
  resources: AsyncDisposableStack,
  root: string,
): Promise<{ readonly lan: Lan; readonly hosts: readonly [InstalledHost, InstalledHost] }> {
  const lan = resources.use(await createLan({ hosts: 2 }));
  const boot = async (number: number) => {
    const host = new InstalledHost(resources.use(await SystemdHost.boot(lan.host(number), root)));
    await host.sh("rm -f /usr/sbin/policy-rc.d"); // a machine for tests may forbid that packages start services
    return host;
  };
  return { lan, hosts: [await boot(1), await boot(2)] };
}

/** The commands of the documentation for a small cluster; gives a container on each host. */
export async function formCluster(hosts: readonly [InstalledHost, InstalledHost]): Promise<readonly [Pod, Pod]> {
  const [h1, h2] = hosts;
  const { joinCommand } = JSON.parse(await h1.system.run(["flannelctl", "init", "--name=h1", "--json"], long));
  await h2.system.run([...joinCommand, "--name=h2"], long);
  return [await h1.attachPod(), await h2.attachPod()];
}
