// The backend ipsec on hosts under systemd with the package: charon runs in a unit of its own, goes on when the agent is killed,
// stopped and upgraded, and goes with the backend. The kernel of the machine may have no ESP: then charon encrypts by itself.
import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Pod } from "../../../lab/pod.ts";
import { ContinuousPing, ping, untilAllPing } from "../../../lab/probe.ts";
import { until } from "../../../lab/wait.ts";
import { bootTwo, dpkg, formCluster, type InstalledHost, makePackage } from "../../support/installed-host.ts";

const timeout = 300_000;
const presharedKey = "a-secret-that-nobody-shows".repeat(4);
const config = (backend: object) => JSON.stringify({ Network: "10.5.0.0/16", Backend: backend });

let resources: AsyncDisposableStack;
let hosts: readonly [InstalledHost, InstalledHost];
let pods: readonly [Pod, Pod];

const charonPid = (host: InstalledHost) => host.mainPid("flannel-charon");

async function setBackend(backend: object): Promise<void> {
  const [h1] = hosts;
  await h1.sh(`flannelctl config set - <<'JSON'\n${config(backend)}\nJSON`);
  for (const host of hosts) await host.sh("systemctl restart flanneld && flannelctl wait");
}

beforeAll(async () => {
  const older = await makePackage("deb", "1.0.0");
  resources = new AsyncDisposableStack();
  ({ hosts } = await bootTwo(resources, "/"));
  for (const host of hosts) await host.sh(dpkg.install(host.place(older)));
  pods = await formCluster(hosts);
  await untilAllPing(pods);
  await setBackend({ Type: "ipsec", PSK: presharedKey });
  await untilAllPing(pods);
}, timeout);

afterAll(() => resources?.disposeAsync());

it("charon runs in its own unit, with a configuration that AppArmor lets it read", { timeout }, async () => {
  for (const host of hosts) {
    const pid = await charonPid(host);
    expect((await host.sh("cat /run/charon.pid")).trim()).toBe(pid);
    expect(await host.sh(`cat /proc/${pid}/cgroup`)).toContain("flannel-charon.service");
    expect(await host.sh(`tr '\\0' '\\n' </proc/${pid}/environ`)).toContain("FLANNEL_CHARON=1");
    expect(await host.sh("flannelctl status")).toMatch(/established/);
    const isUserspace = (await host.sh("flannelctl status --json")).includes('"encryption": "charon"');
    expect(existsSync(host.system.file("/run/charon.flannel.conf"))).toBe(isUserspace);
    if (!isUserspace) continue;
    const [profile, text] = ["/etc/apparmor.d/usr.lib.ipsec.charon", "/run/charon.flannel.conf"].map((path) =>
      readFileSync(host.system.file(path), "utf8"),
    );
    expect(profile).toMatch(/^\s*\/run\/charon\.\* +rw,/m);
    expect(text).toContain("kernel-libipsec");
    expect(text).not.toContain(presharedKey);
  }
});

it("no packet is lost when agents are killed, restarted and upgraded; charon goes on", { timeout }, async () => {
  const before = await Promise.all(hosts.map(charonPid));
  const newer = await makePackage("deb", "1.0.1");
  await using traffic = await ContinuousPing.start(pods[0].namespace, pods[1].ipv4 ?? "");
  for (const host of hosts) {
    const pid = await host.mainPid("flanneld");
    await host.sh(`kill -KILL ${pid}`);
    const isAnother = async () => !["0", pid].includes(await host.mainPid("flanneld"));
    await until(isAnother, { what: "another agent", intervalMs: 100 });
    await host.sh("flannelctl wait; systemctl restart flanneld; flannelctl wait");
    await host.upgrade(dpkg.install(host.place(newer)));
    expect(await host.sh("cat /usr/lib/flannel/VERSION")).toBe("1.0.1\n");
  }
  await traffic.more(50);
  expect((await traffic.stop()).lost).toEqual([]);
  expect(await Promise.all(hosts.map(charonPid))).toEqual(before);
});

it("charon is started anew by systemctl restart, and by the agent when it dies", { timeout }, async () => {
  const [h1] = hosts;
  for (const command of ["systemctl restart flannel-charon", 'kill -KILL "$(cat /run/charon.pid)"']) {
    const before = await charonPid(h1);
    await h1.sh(command);
    await until(async () => !["0", before].includes(await charonPid(h1)), { what: "another charon", intervalMs: 100 });
    await untilAllPing(pods);
    await h1.sh("flannelctl wait");
  }
});

it("goes with the backend, and comes back with it", { timeout }, async () => {
  await setBackend({ Type: "host-gw" });
  await untilAllPing(pods);
  for (const host of hosts) {
    expect(await host.isActive("flannel-charon")).toBe(false);
    const left = "ls -d /run/charon.pid /run/charon.flannel.conf /run/flannel/charon.conf 2>/dev/null || :";
    expect(await host.sh(left)).toBe("");
    expect(await host.system.host.namespace.ip("link", "show")).not.toContain("ipsec0");
    expect(await host.system.host.namespace.ip("route", "show", "type", "blackhole")).toBe("");
  }
  await setBackend({ Type: "ipsec", PSK: presharedKey });
  await untilAllPing(pods);
  expect(await ping(pods[0].namespace, pods[1].ipv4 ?? "")).toBeDefined();
  for (const host of hosts) expect(await host.isActive("flannel-charon")).toBe(true);
});
