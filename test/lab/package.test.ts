// The packages as people use them: installed on hosts that have never had a checkout, upgraded, downgraded, removed and
// purged, while packets flow. On this machine's system, and in `npm run test:long` on each Debian that they are made for.
import { copyFileSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { run } from "../../lab/command.ts";
import { debianReleases, debianRoot } from "../../lab/debian-root.ts";
import { createLan } from "../../lab/lan.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { ContinuousPing, untilAllPing } from "../../lab/probe.ts";
import { readSubnetEnv } from "../../lab/subnet-env.ts";
import { SystemdHost } from "../../lab/systemd-host.ts";
import { DEADLINE_MS, until } from "../../lab/wait.ts";
import { readFuzzScale, SLICES } from "../support/fuzz-scale.ts";

const packaging = fileURLToPath(new URL("../../packaging/package.ts", import.meta.url));
const isLong = readFuzzScale().count >= SLICES;
const systems = ["this machine's", ...(isLong ? debianReleases : [])] as const;
const long = { timeoutMs: 3 * DEADLINE_MS };

let out: string;

async function makePackage(form: string, version: string, directory: string): Promise<string> {
  const options = [form, "--fast", "--arch=amd64", `--version=${version}`, `--out=${directory}`];
  await run([process.execPath, packaging, ...options], long);
  const name = (await readdir(directory)).find((file) => file.includes(version) && !file.startsWith("SHA256"));
  return join(directory, name ?? "");
}

beforeAll(async () => {
  out = await mkdtemp(join(tmpdir(), "packages-"));
});
afterAll(() => rm(out, { recursive: true }));

/** What the tests do on a host, in its own system. */
class InstalledHost {
  readonly system: SystemdHost;

  constructor(system: SystemdHost) {
    this.system = system;
  }

  sh(script: string): Promise<string> {
    return this.system.run(["sh", "-euc", script], long);
  }

  /** Gives back what dpkg said. */
  async dpkg(...words: readonly string[]): Promise<string> {
    return this.system.run(["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", ...words], long);
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

  async attachPod(): Promise<Pod> {
    const env = await readSubnetEnv(this.system.file("/run/flannel/subnet.env"));
    return attachPod(this.system.host, env!);
  }
}

async function bootTwo(resources: AsyncDisposableStack, root: string): Promise<[InstalledHost, InstalledHost]> {
  const lan = resources.use(await createLan({ hosts: 2 }));
  const boot = async (number: number) => {
    const host = new InstalledHost(resources.use(await SystemdHost.boot(lan.host(number), root)));
    await host.sh("rm -f /usr/sbin/policy-rc.d"); // a machine for tests may forbid that packages start services
    return host;
  };
  return [await boot(1), await boot(2)];
}

it("the same sources make the same bytes", async () => {
  const again = await mkdtemp(join(out, "again-"));
  const first = await makePackage("deb", "1.0.0", out);
  const second = await makePackage("deb", "1.0.0", again);
  expect(readFileSync(second).equals(readFileSync(first))).toBe(true);
  await run(["sh", "-euc", `cd ${again} && sha256sum --check --quiet SHA256SUMS`]);
});

describe.each(systems)("on %s system", (name) => {
  it("installs, upgrades and downgrades under traffic, is removed and purged", async () => {
    const [older, newer] = [await makePackage("deb", "1.0.0", out), await makePackage("deb", "1.0.1", out)];
    await using resources = new AsyncDisposableStack();
    const root = name === "this machine's" ? "/" : await debianRoot(name);
    const [h1, h2] = await bootTwo(resources, root);
    const before = await h1.sh("stat -c '%a %u %g' / /usr /etc /usr/bin /etc/default");
    for (const host of [h1, h2]) {
      await host.dpkg("--install", host.place(older));
      host.place(newer);
      expect(await host.sh("systemctl list-units --all --plain --no-legend 'flannel*'")).toBe("");
    }
    expect(await h1.sh("stat -c '%a %u %g' / /usr /etc /usr/bin /etc/default")).toBe(before);
    expect(
      await h1.sh("flannelctl version | head -1; flannel-store --version; cat /usr/lib/flannel/VERSION"),
    ).toContain("1.0.0");

    const { joinCommand } = JSON.parse(await h1.sh("flannelctl init --name=h1 --json"));
    await h2.system.run([...joinCommand, "--name=h2"], long);
    const pods = [await h1.attachPod(), await h2.attachPod()];
    await untilAllPing(pods);
    await h1.sh("echo '# mine' >> /etc/default/flanneld");

    for (const file of [newer, older]) {
      await using traffic = await ContinuousPing.start(pods[0]!.namespace, pods[1]!.ipv4 ?? "");
      for (const host of [h1, h2]) {
        const pid = await host.mainPid("flanneld");
        await host.dpkg("--install", `/root/${basename(file)}`);
        const isReplaced = async () => (await host.mainPid("flanneld")) !== pid && host.isActive("flanneld");
        await until(isReplaced, { what: "the new agent", intervalMs: 100 });
        await host.sh("flannelctl wait");
      }
      await traffic.more(50);
      expect((await traffic.stop()).lost).toEqual([]);
    }
    expect(await h1.sh("tail -1 /etc/default/flanneld")).toBe("# mine\n");

    // What is removed says what stays: containers talk on, and the cluster's files wait for the next installation.
    const said = await h2.dpkg("--remove", "flannel");
    expect(said).toContain("flannelctl cleanup --all");
    expect(await h2.isActive("flanneld")).toBe(false);
    await untilAllPing(pods);
    await h2.dpkg("--install", `/root/${basename(newer)}`);
    await h2.sh("flannelctl wait");

    await h2.sh("flannelctl leave");
    await h2.dpkg("--purge", "flannel");
    const traces =
      "ls -d /etc/flannel /etc/default/flannel* /var/lib/flannel* /usr/lib/flannel /etc/systemd/system/flannel* 2>/dev/null || :";
    expect(await h2.sh(traces)).toBe("");
    expect(await h2.sh("systemctl list-units --all --plain --no-legend --state=failed 'flannel*'")).toBe("");
    expect(await h1.sh("flannelctl host list")).not.toContain("h2");
  });
});

it("a host without a package manager installs the archive, upgrades and removes it", async () => {
  const archive = await makePackage("tar", "1.0.0", out);
  await using resources = new AsyncDisposableStack();
  const [h1] = await bootTwo(resources, "/");
  await h1.sh(`cd /root && tar -xzf ${h1.place(archive)} && flannel/bin/flanneld --version`);
  // Where it lies it runs as well, from a medium that cannot be written.
  await h1.sh(
    "mkdir /mnt/ro && mount --bind -o ro /root/flannel /mnt/ro && /mnt/ro/bin/flannelctl --version && umount /mnt/ro",
  );
  expect(await h1.sh("/root/flannel/install.sh --prefix=/srv/flannel")).toContain("Next: flannelctl init");
  expect(await h1.isActive("flanneld")).toBe(false);
  await h1.sh("flannelctl init --name=h1");
  const pid = await h1.mainPid("flanneld");
  await h1.sh("/root/flannel/install.sh --prefix=/srv/flannel");
  await until(async () => (await h1.mainPid("flanneld")) !== pid && h1.isActive("flanneld"), { what: "the new agent" });
  await h1.sh(
    "systemd-analyze verify flanneld.service && flannelctl wait && MANPATH=/usr/local/share/man man -w flanneld",
  );
  const removed = await h1.sh(
    "flannelctl leave --force 2>&1 || :; /root/flannel/install.sh --prefix=/srv/flannel --remove",
  );
  expect(removed).toContain("flannelctl cleanup");
  expect(await h1.sh("ls -d /srv/flannel /usr/local/bin/flannelctl 2>/dev/null || :")).toBe("");
  expect(await readFile(h1.system.file("/etc/default/flanneld"), "utf8")).toContain("FLANNELD_ETCD_ENDPOINTS");
});
