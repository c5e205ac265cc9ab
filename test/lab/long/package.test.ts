// Every form of package on every system that it is made for and that can be had here: installed, upgraded and downgraded
// under traffic, removed and purged; and the ways that the documentation describes, as they stand there.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { debianReleases, debianRoot } from "../../../lab/debian-root.ts";
import { Etcd } from "../../../lab/etcd.ts";
import { ContinuousPing, untilAllPing } from "../../../lab/probe.ts";
import { DEADLINE_MS, until } from "../../../lab/wait.ts";
import { documentedBlock } from "../../support/documented-block.ts";
import { bootTwo, dpkg, formCluster, type InstalledHost, makePackage, rpm } from "../../support/installed-host.ts";

/** Eight installations with two systems at work. */
const timeout = 15 * DEADLINE_MS;

const packages = {
  deb: { older: "", newer: "" },
  rpm: { older: "", newer: "" },
};

beforeAll(async () => {
  for (const form of ["deb", "rpm"] as const) {
    packages[form] = { older: await makePackage(form, "1.0.0"), newer: await makePackage(form, "1.0.1") };
  }
});

const modes = "stat -c '%a %u %g' / /usr /etc /usr/bin /etc/default /usr/share/man/man8";

describe.each([
  ...["this machine's", ...debianReleases].map((system) => ({ tool: dpkg, system })),
  { tool: rpm, system: "this machine's" },
])("$tool.form on $system system", ({ tool, system }) => {
  it("installs, upgrades and downgrades under traffic, is removed and installed again", { timeout }, async () => {
    const { older, newer } = packages[tool.form];
    await using resources = new AsyncDisposableStack();
    const root = system === "this machine's" ? "/" : await debianRoot(system as (typeof debianReleases)[number]);
    const {
      hosts: [h1, h2],
    } = await bootTwo(resources, root);
    const before = await h1.sh(modes);
    for (const host of [h1, h2]) {
      await host.sh(tool.install(host.place(older)));
      expect(await host.sh("systemctl list-units --all --plain --no-legend 'flannel*'")).toBe("");
    }
    expect(await h1.sh(modes)).toBe(before);
    expect(
      await h1.sh("flannelctl version | head -1; flannel-store --version; cat /usr/lib/flannel/VERSION"),
    ).toContain("1.0.0");

    const pods = await formCluster([h1, h2]);
    await untilAllPing(pods);
    await h1.sh("echo '# mine' >> /etc/default/flanneld");
    for (const file of [newer, older]) {
      await using traffic = await ContinuousPing.start(pods[0].namespace, pods[1].ipv4 ?? "");
      for (const host of [h1, h2]) {
        await host.upgrade(tool.install(host.place(file)));
        // Made for this version by its installation.
        expect(await host.sh("ls /usr/lib/flannel/dist/compile-cache")).not.toBe("");
      }
      await traffic.more(50);
      expect((await traffic.stop()).lost).toEqual([]);
    }
    expect(await h1.sh("tail -1 /etc/default/flanneld")).toBe("# mine\n");

    // What is removed says what stays: containers talk on, and the cluster's files wait for the next installation.
    const removed = await h2.sh(tool.remove);
    expect(removed).toContain("flannelctl cleanup --all");
    expect(removed.includes("purging the package")).toBe(tool.purge !== undefined);
    expect(removed.includes("delete them by hand")).toBe(tool.purge === undefined);
    expect(await h2.isActive("flanneld")).toBe(false);
    expect(await h2.sh("ls -d /usr/lib/flannel /usr/bin/flannelctl 2>/dev/null || :")).toBe("");
    await untilAllPing(pods);
    await h2.sh(tool.install(h2.place(newer)));
    await h2.sh("flannelctl wait");

    await h2.sh("flannelctl leave");
    await h2.sh(tool.purge ?? tool.remove);
    expect(await h2.sh("systemctl list-units --all --plain --no-legend --state=failed 'flannel*'")).toBe("");
    expect(await h1.sh("flannelctl host list")).not.toContain("h2");
    if (tool.purge === undefined) return;
    const traces =
      "ls -d /etc/flannel /etc/default/flannel* /var/lib/flannel* /usr/lib/flannel /etc/systemd/system/flannel* 2>/dev/null || :";
    expect(await h2.sh(traces)).toBe("");
  });
});

/** Of all that a machine for tests may have. */
const packageManagers = ["dpkg", "apt", "apt-get", "rpm", "dnf", "yum", "zypper"];

/** The host's changes are its own: this machine keeps its files. */
async function withoutPackageManager(host: InstalledHost): Promise<void> {
  await host.sh("rm -rf /usr/bin/dpkg* /usr/bin/rpm* /var/lib/dpkg /var/lib/apt /etc/apt /var/lib/rpm");
  await host.sh(`rm -f ${packageManagers.map((name) => `/usr/bin/${name}*`).join(" ")}`);
  for (const name of packageManagers) expect(await host.sh(`command -v ${name} || echo none`)).toBe("none\n");
}

it("from a medium that cannot be written an agent becomes ready, without an installation", { timeout }, async () => {
  const archive = await makePackage("tar", "1.0.0");
  await using resources = new AsyncDisposableStack();
  const {
    hosts: [host],
  } = await bootTwo(resources, "/");
  await host.sh(`cd /root && tar -xzf ${host.place(archive)}`);
  await host.sh("mkdir /mnt/ro && mount --bind -o ro /root/flannel /mnt/ro");
  expect(await host.sh("touch /mnt/ro/dist/x /mnt/ro/x || :")).toContain("Read-only file system");
  await host.sh("systemd-run --quiet --unit=from-medium /mnt/ro/bin/flanneld --store=embedded");
  const ctl = "/mnt/ro/bin/flannelctl";
  const config = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
  await until(() => host.sh(`echo '${config}' | ${ctl} config set -`), { what: "the store to take a configuration" });
  await host.sh(`${ctl} wait`);
  expect(await host.sh("cat /run/flannel/subnet.env")).toContain("FLANNEL_NETWORK=10.5.0.0/16");
  const program = await host.sh("readlink /proc/$(systemctl show --property=MainPID --value from-medium)/exe");
  expect(program).toBe("/mnt/ro/node/bin/node\n");
});

it("a host without a package manager installs the archive, upgrades and removes it", { timeout }, async () => {
  const archive = await makePackage("tar", "1.0.0");
  await using resources = new AsyncDisposableStack();
  const {
    hosts: [h1],
  } = await bootTwo(resources, "/");
  await withoutPackageManager(h1);
  await h1.sh(`cd /root && tar -xzf ${h1.place(archive)} && flannel/bin/flanneld --version`);
  expect(await h1.sh("/root/flannel/install.sh --prefix=/srv/flannel")).toContain("Next: flannelctl init");
  expect(await h1.isActive("flanneld")).toBe(false);
  await h1.sh("for name in flanneld flannel-store; do echo '# mine' >>/etc/default/$name; done");
  await h1.sh("flannelctl init --name=h1");
  const pid = await h1.mainPid("flanneld");
  await h1.sh("/root/flannel/install.sh --prefix=/srv/flannel");
  await until(async () => (await h1.mainPid("flanneld")) !== pid && h1.isActive("flanneld"), { what: "the new agent" });
  await h1.sh(
    "systemd-analyze verify flanneld.service flannel-store.service && flannelctl wait && MANPATH=/usr/local/share/man man -w flanneld",
  );
  const removed = await h1.sh(
    "flannelctl leave --force 2>&1 || :; /root/flannel/install.sh --prefix=/srv/flannel --remove",
  );
  expect(removed).toContain("flannelctl cleanup");
  expect(removed).toContain("delete them by hand");
  expect(removed).not.toContain("purging");
  expect(await h1.sh("ls -d /srv/flannel /usr/local/bin/flannelctl 2>/dev/null || :")).toBe("");
  for (const name of ["flanneld", "flannel-store"])
    expect(await h1.sh(`tail -1 /etc/default/${name}`)).toBe("# mine\n");
});

describe("README", () => {
  const resources = new AsyncDisposableStack();
  afterAll(() => resources.disposeAsync());

  it("its commands for an etcd connect containers of two hosts", async () => {
    const { lan, hosts } = await bootTwo(resources, "/");
    const etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    const values = { "http://10.0.0.1:2379": etcd.endpoints };
    const block = documentedBlock("README.md", "systemctl enable --now flanneld", values);
    const [once = "", everywhere = ""] = block.split("# on every host\n");
    for (const host of hosts) await host.sh(dpkg.install(host.place(packages.deb.older)));
    await hosts[0].sh(once);
    for (const host of hosts) expect(await host.sh(everywhere)).toContain("FLANNEL_SUBNET=10.5.");
    await untilAllPing([await hosts[0].attachPod(), await hosts[1].attachPod()]);
  });
});
