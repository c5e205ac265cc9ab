// A real systemd boots a host on whose disk the CNI configuration of the time before is: it is gone before a service that starts
// as early as a container runtime looks for it, and back when the agent has made the network. Nothing else takes it away.
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { EmbeddedStore } from "../../lab/embedded-store.ts";
import { createLan } from "../../lab/lan.ts";
import { SystemdHost } from "../../lab/systemd-host.ts";
import { until } from "../../lab/wait.ts";

const flanneld = fileURLToPath(new URL("../../bin/flanneld", import.meta.url));
const conflist = "/etc/cni/net.d/10-flannel.conflist";
const bootFile = "/etc/tmpfiles.d/flannel-cni.conf";

it("a boot removes the CNI configuration before a container runtime starts, and only a boot does", async () => {
  await using resources = new AsyncDisposableStack();
  const lan = resources.use(await createLan({ hosts: 1 }));
  const store = resources.use(await EmbeddedStore.start(lan.storeAddress));
  await store.put("/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  const disk = await mkdtemp("/run/disk-");
  resources.defer(() => rm(disk, { recursive: true }));
  await install(disk, store.endpoints);
  const boot = () => SystemdHost.boot(lan.host(1), `${disk}:/`);

  {
    await using first = await boot();
    await startAgent(first);
    const before = (await stat(first.file(conflist))).ino;
    await first.run(["systemctl", "restart", "flanneld"]);
    // As package managers do.
    await first.run(["systemd-tmpfiles", "--create", "--remove", "--prefix=/etc/cni"]);
    expect((await stat(first.file(conflist))).ino).toBe(before);
    // What is made anew when it is deleted, so that the next boot is as good.
    await rm(first.file(bootFile));
    await untilThere(first, bootFile);
    for (const file of [conflist, bootFile]) await cp(first.file(file), `${disk}${file}`);
  }

  await using second = await boot();
  const seen = await readFile(second.file("/run/seen"), "utf8");
  expect(seen).toContain("20-other.conflist");
  expect(seen).not.toContain("flannel");
  expect(existsSync(`${disk}${conflist}`)).toBe(true);
  expect(existsSync(second.file(bootFile))).toBe(true);
  await startAgent(second);
});

/** What the host has of its own: another CNI configuration, the agent, and what stands for containerd, with its order. */
async function install(disk: string, endpoints: string): Promise<void> {
  const units = `${disk}/usr/lib/systemd/system`;
  const flags = `--cni-conf-file=${conflist} --cni-boot-file=${bootFile} --etcd-endpoints=${endpoints}`;
  const files = {
    [`${units}/runtime.service`]:
      "[Unit]\nAfter=network.target local-fs.target\n" +
      "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'ls /etc/cni/net.d >/run/seen'\n",
    [`${units}/flanneld.service`]: `[Service]\nType=notify\nEnvironment=PATH=${process.env["PATH"]}\nExecStart=${flanneld} ${flags}\n`,
    [`${disk}/etc/cni/net.d/20-other.conflist`]: "{}",
    [`${disk}/etc/tmpfiles.d/other.conf`]: "# none\n",
  };
  await chmod(disk, 0o755);
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  await mkdir(`${units}/lab.target.wants`);
  await symlink("../runtime.service", `${units}/lab.target.wants/runtime.service`);
}

async function startAgent(host: SystemdHost): Promise<void> {
  expect(existsSync(host.file(conflist))).toBe(false);
  await host.run(["systemctl", "start", "flanneld"], { timeoutMs: 90_000 });
  for (const file of [conflist, bootFile]) await untilThere(host, file);
}

function untilThere(host: SystemdHost, file: string): Promise<unknown> {
  const look = async () => (await host.tryRun(["test", "-e", file])).exitCode === 0;
  return until(look, { what: `${file} to be there`, intervalMs: 100 });
}
