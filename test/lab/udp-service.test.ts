// The udp backend under a real systemd: what arrives while the agent is started again waits for the next one, and nothing
// is held any longer than it is needed.
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createLan } from "../../lab/lan.ts";
import { carriedWhile } from "../../lab/packet-probe.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { readSubnetEnv } from "../../lab/subnet-env.ts";
import { SystemdHost } from "../../lab/systemd-host.ts";
import { until } from "../../lab/wait.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
/** Fits into the device's queue of 500 packets: a restart takes half a second, systemd waits 2 s after a failure. */
const EVERY_US = { restart: 5_000, kill: 10_000 };

let resources: AsyncDisposableStack;
let h1: SystemdHost;
let h2: SystemdHost;
let pods: readonly [Pod, Pod];

const ctl = (host: SystemdHost, ...words: readonly string[]) => host.run([flannelctl, ...words], { timeoutMs: 90_000 });
const show = async (property: string) =>
  (await h2.run(["systemctl", "show", "--value", `--property=${property}`, "flanneld"])).trim();
const portHolders = () => h2.run(["ss", "-Hlun", "sport = :8285"]);

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  const lan = resources.use(await createLan({ hosts: 2 }));
  h1 = resources.use(await SystemdHost.boot(lan.host(1)));
  h2 = resources.use(await SystemdHost.boot(lan.host(2)));
  const config = JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "udp" } });
  await h1.run(["sh", "-c", `echo '${config}' > /run/net-conf.json`]);
  const { joinCommand } = JSON.parse(await ctl(h1, "init", "--name=h1", "--config=/run/net-conf.json", "--json"));
  await h2.run([...joinCommand, "--name=h2"], { timeoutMs: 90_000 });
  const attach = async (host: SystemdHost) =>
    attachPod(host.host, (await readSubnetEnv(host.file("/run/flannel/subnet.env")))!);
  pods = [await attach(h1), await attach(h2)];
  await untilAllPing(pods);
});

afterEach(() => resources.disposeAsync());

/** Both ways at once, while the second host's agent gives way to another process. */
async function carryWhileReplaced(everyUs: number, replace: (pid: string) => Promise<unknown>) {
  const before = await show("MainPID");
  const act = async () => {
    await replace(before);
    const isAnother = async () =>
      !["0", before].includes(await show("MainPID")) && (await show("ActiveState")) === "active";
    await until(isAnother, { what: "another agent to be ready" });
  };
  const [first, second] = pods;
  const acted = Promise.withResolvers<void>();
  const [out, back] = await Promise.all([
    carriedWhile(second.namespace, first.namespace, first.ipv4 ?? "", everyUs, () => acted.promise),
    carriedWhile(first.namespace, second.namespace, second.ipv4 ?? "", everyUs, () => act().finally(acted.resolve)),
  ]);
  return { out, back };
}

it("no packet is lost when the agent is restarted, nor when it was killed", async () => {
  for (const [everyUs, replace] of [
    [EVERY_US.restart, () => h2.run(["systemctl", "restart", "flanneld"])],
    [EVERY_US.kill, (pid: string) => h2.run(["kill", "-KILL", pid])],
  ] as const) {
    const { out, back } = await carryWhileReplaced(everyUs, replace);
    expect(Math.min(out.sent, back.sent)).toBeGreaterThan(50);
    expect(out.arrived).toBe(out.sent);
    expect(back.arrived).toBe(back.sent);
    expect(await show("NFileDescriptorStore")).toBe("2"); // device and socket, once each
  }
  // A device that was made anew is kept in place of the old one.
  await h2.run(["ip", "link", "del", "dev", "flannel0"]);
  await untilAllPing(pods);
  expect(await show("NFileDescriptorStore")).toBe("2");
  const { out, back } = await carryWhileReplaced(EVERY_US.restart, () => h2.run(["systemctl", "restart", "flanneld"]));
  expect([out.arrived, back.arrived]).toEqual([out.sent, back.sent]);
});

it("what is kept is let go when the service stops, and when the backend is another", async () => {
  await h2.run(["systemctl", "stop", "flanneld"]);
  const isLetGo = async () => (await h2.run(["ip", "-brief", "link", "show", "flannel0"])).includes("NO-CARRIER");
  await until(async () => (await portHolders()) === "" && (await isLetGo()), { what: "port and device to be let go" });

  await h2.run(["systemctl", "start", "flanneld"]);
  await untilAllPing(pods);
  const vxlan = JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "vxlan" } });
  await h1.run(["sh", "-c", `echo '${vxlan}' > /run/net-conf.json`]);
  await ctl(h1, "config", "set", "/run/net-conf.json");
  for (const host of [h1, h2]) await host.run(["systemctl", "restart", "flanneld"]);
  await until(async () => (await show("NFileDescriptorStore")) === "0", { what: "nothing to be kept any more" });
  expect(await portHolders()).toBe("");
  await untilAllPing(pods);
});
