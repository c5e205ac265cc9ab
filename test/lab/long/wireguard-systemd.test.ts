// wireguard-go under a real systemd, which ends what runs in a service's control group: the device has a unit of its own, so
// packets flow while flanneld is restarted, killed and stopped.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createLan } from "../../../lab/lan.ts";
import { attachPod, type Pod } from "../../../lab/pod.ts";
import { ContinuousPing, untilAllPing } from "../../../lab/probe.ts";
import { readSubnetEnv } from "../../../lab/subnet-env.ts";
import { SystemdHost } from "../../../lab/systemd-host.ts";
import { until } from "../../../lab/wait.ts";

const flannelctl = fileURLToPath(new URL("../../../bin/flannelctl", import.meta.url));
const SLOW = { timeoutMs: 90_000 };
const unit = "wireguard-go-flannel-wg.service";
const config = JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "wireguard" } });

let resources: AsyncDisposableStack;
let h1: SystemdHost;
let h2: SystemdHost;
let pods: readonly [Pod, Pod];

const ctl = (host: SystemdHost, ...words: readonly string[]) => host.run([flannelctl, ...words], SLOW);

async function attach(host: SystemdHost): Promise<Pod> {
  const env = await readSubnetEnv(host.file("/run/flannel/subnet.env"));
  if (env === undefined) throw new Error(`${host.host.name} has no subnet.env`);
  return attachPod(host.host, env);
}

async function show(host: SystemdHost, name: string, property: string): Promise<string> {
  return (await host.run(["systemctl", "show", `--property=${property}`, "--value", name])).trim();
}

beforeAll(async () => {
  resources = new AsyncDisposableStack();
  const lan = resources.use(await createLan({ hosts: 2 }));
  h1 = resources.use(await SystemdHost.boot(lan.host(1)));
  h2 = resources.use(await SystemdHost.boot(lan.host(2)));
  await h1.run(["tee", "/run/net-conf.json"], { input: config });
  const { joinCommand } = JSON.parse(await ctl(h1, "init", "--name=h1", "--config=/run/net-conf.json", "--json")) as {
    joinCommand: readonly string[];
  };
  await h2.run([...joinCommand, "--name=h2"], SLOW);
  pods = [await attach(h1), await attach(h2)];
  await untilAllPing(pods);
});

afterAll(() => resources.disposeAsync());

it("has the device served in a unit of its own", async () => {
  for (const host of [h1, h2]) {
    expect(await show(host, unit, "ActiveState")).toBe("active");
    expect(await show(host, unit, "MainPID")).not.toBe("0");
    expect(await host.run(["systemctl", "--failed", "--quiet", "--plain"])).toBe("");
  }
});

it.each<[string, () => Promise<unknown>]>([
  ["restarted", () => h1.run(["systemctl", "restart", "flanneld"], SLOW)],
  [
    "killed",
    async () => {
      const before = await show(h1, "flanneld", "MainPID");
      await h1.run(["kill", "-9", before]);
      const isBack = async () => !["0", before].includes(await show(h1, "flanneld", "MainPID"));
      await until(isBack, { what: "flanneld to be started again", intervalMs: 100 });
      await ctl(h1, "wait");
    },
  ],
  [
    "stopped for a while",
    async () => {
      await h1.run(["systemctl", "stop", "flanneld"], SLOW);
      expect(await show(h1, unit, "ActiveState")).toBe("active");
      await h1.run(["systemctl", "start", "flanneld"], SLOW);
    },
  ],
])("loses no packet while flanneld is %s", async (_, act) => {
  const [one, two] = pods;
  await using there = await ContinuousPing.start(one.namespace, two.ipv4 ?? "");
  await using back = await ContinuousPing.start(two.namespace, one.ipv4 ?? "");
  const program = await show(h1, unit, "MainPID");
  await act();
  for (const traffic of [there, back]) {
    await traffic.more(50);
    expect((await traffic.stop()).lost).toEqual([]);
  }
  expect(await show(h1, unit, "MainPID")).toBe(program);
});

it.each<[string, () => Promise<unknown>]>([
  ["somebody stops its unit", () => h1.run(["systemctl", "stop", unit])],
  ["wireguard-go crashes", async () => h1.run(["kill", "-9", await show(h1, unit, "MainPID")])],
  ["its device is deleted", () => h1.run(["ip", "link", "del", "dev", "flannel-wg"])],
])("has the device served again after %s", async (_, damage) => {
  const before = await show(h1, unit, "MainPID");
  await damage();
  const isServed = async () => {
    const now = await show(h1, unit, "MainPID");
    return !["0", before].includes(now) && (await show(h1, unit, "ActiveState")) === "active";
  };
  await until(isServed, { what: "another wireguard-go", intervalMs: 100 });
  await untilAllPing(pods);
});

it("leaves nothing behind when the host leaves", async () => {
  await ctl(h2, "leave");
  expect(await h2.host.namespace.ip("-brief", "link")).not.toContain("flannel");
  await until(async () => (await show(h2, unit, "ActiveState")) === "inactive", { what: "its unit to end" });
  expect(await h2.run(["systemctl", "--failed", "--quiet", "--plain"])).toBe("");
});
