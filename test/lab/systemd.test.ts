// `flannelctl init`, `join` and `leave` under a real systemd: one command for each host, with the units' sandbox.

import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createLan } from "../../lab/lan.ts";
import { attachPod } from "../../lab/pod.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { readSubnetEnv } from "../../lab/subnet-env.ts";
import { SystemdHost } from "../../lab/systemd-host.ts";
import { until } from "../../lab/wait.ts";
import { parseOutput } from "../support/output-schema.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));

let resources: AsyncDisposableStack;
let h1: SystemdHost;
let h2: SystemdHost;

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  const lan = resources.use(await createLan({ hosts: 2 }));
  h1 = resources.use(await SystemdHost.boot(lan.host(1)));
  h2 = resources.use(await SystemdHost.boot(lan.host(2)));
});

afterEach(() => resources.disposeAsync());

const ctl = (host: SystemdHost, ...words: readonly string[]) => host.run([flannelctl, ...words], { timeoutMs: 90_000 });

async function mainPid(host: SystemdHost, unit: string): Promise<number> {
  return Number(await host.run(["systemctl", "show", "--property=MainPID", "--value", unit]));
}

async function untilRestarted(host: SystemdHost, unit: string, before: number): Promise<void> {
  const isAnother = async () => ![0, before].includes(await mainPid(host, unit)) && (await isActive(host, unit));
  await until(isAnother, { what: `${unit} to be started again`, intervalMs: 100 });
}

async function isActive(host: SystemdHost, unit: string): Promise<boolean> {
  return (await host.tryRun(["systemctl", "is-active", unit])).stdout.trim() === "active";
}

it("each host in one command; the services come back after a kill; a host leaves without a trace", async () => {
  const initText = await ctl(h1, "init", "--name=h1", "--json");
  parseOutput("init", initText);
  const init = JSON.parse(initText);
  expect(init).toMatchObject({ host: "h1", ready: true, reasons: [] });
  const joinText = await h2.run([...init.joinCommand, "--name=h2", "--json"], { timeoutMs: 90_000 });
  parseOutput("join", joinText);
  const join = JSON.parse(joinText);
  expect(join).toMatchObject({ host: "h2", ready: true, units: ["/etc/systemd/system/flanneld.service"] });
  const pods = [];
  for (const host of [h1, h2]) {
    const env = await readSubnetEnv(host.file("/run/flannel/subnet.env"));
    pods.push(await attachPod(host.host, env!));
  }
  await untilAllPing(pods);

  for (const [host, units] of [
    [h1, init.units],
    [h2, join.units],
  ]) {
    for (const unit of units) {
      const verified = await host.tryRun(["systemd-analyze", "verify", unit]);
      expect(verified).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
      expect(await host.run(["systemctl", "is-enabled", unit.slice(unit.lastIndexOf("/") + 1)])).toBe("enabled\n");
    }
  }

  // What its sandbox lets the agent write: where its certificate is renewed, and nothing beside it.
  const agentFiles = ["nsenter", `--target=${await mainPid(h2, "flanneld")}`, "--mount", "touch"];
  await h2.run([...agentFiles, "/etc/flannel/host.pem"]);
  expect((await h2.tryRun([...agentFiles, "/etc/hosts"])).stderr).toContain("Read-only file system");

  for (const unit of ["flannel-store", "flanneld"]) {
    const pid = await mainPid(h1, unit);
    // Before others on a busy host.
    expect((await h1.run(["ps", "-o", "ni=", "-p", String(pid)])).trim()).toBe("-5");
    expect(await h1.run(["systemctl", "show", "--property=CPUWeight", unit])).toBe("CPUWeight=500\n");
    await h1.run(["kill", "-KILL", String(pid)]);
    await untilRestarted(h1, unit, pid);
  }
  await ctl(h1, "wait");

  // A store that does not hear of it: the host has not left, and goes on.
  await h1.run(["systemctl", "stop", "flannel-store"]);
  const unheard = await h2.tryRun([flannelctl, "leave"], { timeoutMs: 90_000 });
  expect(unheard).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("restarted flanneld: nothing on this host was removed"),
  });
  expect(await h2.run(["systemctl", "is-enabled", "flanneld"])).toBe("enabled\n");
  await h1.run(["systemctl", "start", "flannel-store"]);
  await ctl(h2, "wait");

  expect(await ctl(h2, "leave")).toContain("has left the cluster");
  const traces = "ls -d /etc/flannel /etc/systemd/system/flannel* /run/flannel/subnet.env 2>/dev/null || true";
  expect(await h2.run(["sh", "-c", traces])).toBe("");
  expect(await h2.host.namespace.ip("-brief", "link")).not.toContain("flannel");
  expect(await ctl(h1, "host", "list")).not.toContain("h2");
  expect(await ctl(h1, "lease", "list")).not.toContain(h2.host.ipv4);
});

it("a service that does not start is told with the command and where to read on; init goes on from there", async () => {
  // What systemd cannot do: run a unit whose program it may not execute.
  const override = "/etc/systemd/system/flannel-store.service.d";
  await h1.run([
    "sh",
    "-c",
    `mkdir ${override} && printf '[Service]\\nExecStartPre=/bin/false\\n' > ${override}/broken.conf`,
  ]);
  const failed = await h1.tryRun([flannelctl, "init", "--name=h1"], { timeoutMs: 90_000 });
  expect(failed.exitCode).toBe(1);
  expect(failed.stderr).toMatch(/systemctl restart flannel-store\.service failed: .*journalctl -u flannel-store/);
  await h1.run(["rm", "-r", override]);
  expect(await ctl(h1, "init")).toContain("to let another host join: ");
  // systemd calls it active when its ExecStartPost has ended as well.
  await until(() => isActive(h1, "flanneld"), { what: "flanneld to be active" });
  // The host moves: its store is reached at another address from then on.
  await h1.host.namespace.ip("addr", "add", "192.168.50.21/24", "dev", "eth0");
  expect(await ctl(h1, "init", "--address=192.168.50.21")).toContain("change FLANNELD_ETCD_ENDPOINTS");
  const { joinCommand } = JSON.parse(await ctl(h1, "token", "create", "--json"));
  expect(joinCommand).toContain("192.168.50.21:2379");
  await h2.run([...joinCommand, "--name=h2"], { timeoutMs: 90_000 });
  expect(await ctl(h2, "lease", "list")).toContain(h1.host.ipv4);
  const again = await h1.tryRun([flannelctl, "init"]);
  expect(again).toMatchObject({
    exitCode: 1,
    stdout: "",
    stderr: expect.stringContaining("already runs the store of a cluster"),
  });
});

it("other addresses that cannot be had leave the store running", async () => {
  await ctl(h1, "init", "--name=h1");
  const before = await mainPid(h1, "flannel-store");
  const taker = "require('net').createServer().listen(2380, '127.0.0.1')";
  await h1.run(["systemd-run", "--quiet", "--unit=taker", process.execPath, "-e", taker]);
  await until(async () => (await h1.run(["ss", "-Hltn", "sport = :2380"])) !== "", { what: "the port to be taken" });
  const refused = await h1.tryRun([flannelctl, "init", "--port=2380"]);
  expect(refused.stderr).toContain("127.0.0.1:2380 is in use by another program");
  expect(await mainPid(h1, "flannel-store")).toBe(before);
  await h1.run(["systemctl", "stop", "taker"]);

  // A failure after it was stopped.
  await h1.run(["sh", "-c", "mount --bind /etc/flannel /etc/flannel && mount -o remount,ro,bind /etc/flannel"]);
  const failed = await h1.tryRun([flannelctl, "init", "--port=2380"], { timeoutMs: 90_000 });
  expect(failed.exitCode).toBe(1);
  expect(failed.stderr).toContain("the store runs again with the previous files");
  expect(await mainPid(h1, "flannel-store")).not.toBe(before);
  expect(await isActive(h1, "flannel-store")).toBe(true);
  expect(await ctl(h1, "host", "list")).toContain("h1");

  // Ctrl-C while it starts on the new ones, and takes its time.
  await h1.run(["umount", "/etc/flannel"]);
  const override = "/run/systemd/system/flannel-store.service.d";
  const slow = "[Service]\\nExecStartPre=/bin/sleep 3\\n";
  await h1.run(["sh", "-c", `mkdir -p ${override} && printf '${slow}' > ${override}/slow.conf`]);
  const untilItStarts = "until systemctl show -P ExecStart flannel-store | grep -q 2380; do sleep 0.1; done";
  const script = `"$0" init --port=2380 & ${untilItStarts}; sleep 1; kill -INT $!; wait $!`;
  expect((await h1.tryRun(["sh", "-c", script, flannelctl], { timeoutMs: 90_000 })).exitCode).toBe(130);
  await until(() => isActive(h1, "flannel-store"), { what: "the store to run again" });
  expect(await ctl(h1, "host", "list")).toContain("h1");
  await h1.run(["rm", "-r", override]);

  // The same once more.
  await ctl(h1, "init", "--port=2380");
  expect(await h1.run(["ss", "-Hltn", "sport = :2380"])).toContain("127.0.0.1:2380");
  expect(await ctl(h1, "host", "list")).toContain("h1");

  // Killed after the list of members was written and before the unit, or before the store was started on it.
  const unit = "/etc/systemd/system/flannel-store.service";
  for (const half of [`sed -i s/:2380/:2399/ ${unit} && systemctl daemon-reload`, "true"]) {
    await h1.run(["sh", "-c", `systemctl stop flannel-store && ${half}`]);
    await ctl(h1, "init");
    expect(await h1.run(["ss", "-Hltn", "sport = :2380"])).toContain("127.0.0.1:2380");
    expect(await ctl(h1, "host", "list")).toContain("h1");
  }
});

it("whoever does not wait until it is ready gets the command for the next host all the same", async () => {
  const override = "/etc/systemd/system/flanneld.service.d";
  const slow = "[Service]\\nExecStartPre=/bin/sleep 100\\n";
  await h1.run(["sh", "-c", `mkdir ${override} && printf '${slow}' > ${override}/slow.conf`]);
  const untilItWaits = "until grep -q 'waiting for flanneld' /run/said; do sleep 0.1; done";
  const script = `"$0" init --name=h1 2>/run/said & ${untilItWaits}; kill -INT $!; wait $!`;
  const stopped = await h1.tryRun(["sh", "-c", script, flannelctl], { timeoutMs: 90_000 });
  expect(stopped.exitCode).toBe(130);
  expect(stopped.stdout).toContain("flanneld is not ready yet: it has not started yet");
  expect(stopped.stdout).toMatch(/bin\/flannelctl join 192\.168\.50\.11:2379 --token \w/);
});

it("a unit that flannelctl did not make is left alone", async () => {
  const unit = "/etc/systemd/system/flanneld.service";
  await h1.run(["sh", "-c", `printf '[Service]\\nExecStart=/bin/true\\n' > ${unit}`]);
  const refused = await h1.tryRun([flannelctl, "init", "--name=h1"]);
  expect(refused).toMatchObject({
    exitCode: 1,
    stdout: "",
    stderr: expect.stringContaining("was not made by flannelctl"),
  });
  expect(await h1.run(["cat", unit])).toBe("[Service]\nExecStart=/bin/true\n");
  expect(await h1.run(["sh", "-c", "ls -d /etc/flannel /var/lib/flannel-store 2>/dev/null || true"])).toBe("");
});
