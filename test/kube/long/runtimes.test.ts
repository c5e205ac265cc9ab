// Pods of a runtime without Kubernetes: containerd 2, driven by crictl as people do it, with plugins that know CNI 1.1; one
// host with the configuration that the agent writes, one with the plugin. Nothing may be left of any pod, whatever happens.
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Etcd } from "../../../lab/etcd.ts";
import { makeBusyboxImage } from "../../../lab/kubernetes/images.ts";
import { createLan, type Lan } from "../../../lab/lan.ts";
import { RuntimeHost } from "../../../lab/runtime/runtime-host.ts";
import { until } from "../../../lab/wait.ts";
import { containerTraces, noTraces, occupiedNamespaces } from "../../support/container-traces.ts";

const plugin = fileURLToPath(new URL("../../../cni/flannel", import.meta.url));
const conflist = "/etc/cni/net.d/10-flannel.conflist";
const target = "/run/flannel/10-flannel.conflist";
const later = "/etc/cni/net.d/87-later.conflist";
const imageDirectory = "/run/runtime-images";
const withPlugin = {
  name: "cbr0",
  cniVersion: "1.1.0",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};
const twenty = Array.from({ length: 20 }, (_, index) => `p${index}`);

const cleanup = new AsyncDisposableStack();
let lan: Lan;
let hosts: Readonly<Record<Way, RuntimeHost>>;

type Way = "configuration" | "plugin";

beforeAll(async () => {
  lan = cleanup.use(await createLan({ hosts: 2 }));
  const etcd = cleanup.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  await etcd.put("/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  const images = [await makeBusyboxImage(imageDirectory)];
  cleanup.defer(() => rm(imageDirectory, { recursive: true }));
  const store = `--etcd-endpoints=${etcd.endpoints}`;
  const start = async (number: number, ...args: readonly string[]) =>
    cleanup.use(await RuntimeHost.start(lan.host(number), { args: [store, ...args], images }));
  const written = [
    `--cni-conf-file=${conflist}`,
    `--cni-conf-target=${target}`,
    "--cni-conf-template=/etc/cni/template.json",
  ];
  hosts = { configuration: await start(1, ...written), plugin: await start(2) };
  await hosts.configuration.machine.run(["tee", "/etc/cni/template.json"], JSON.stringify(withPlugin));
  await hosts.plugin.machine.run(["cp", plugin, "/opt/cni/bin/flannel"]);
  await hosts.plugin.machine.run(["tee", conflist], JSON.stringify(withPlugin));
});

afterAll(() => cleanup.disposeAsync());

describe.each<{ way: Way; scratchFiles: 0 | 1 }>([
  { way: "configuration", scratchFiles: 0 },
  { way: "plugin", scratchFiles: 1 },
])("by the $way", ({ way, scratchFiles: perPod }) => {
  const host = () => hosts[way];
  const traces = () => containerTraces(host().machine);

  async function untilTraces(expected: object): Promise<void> {
    const look = async () => {
      expect(await traces()).toMatchObject(expected);
      return true;
    };
    await until(look, { what: "traces of pods" }).catch(explain);
  }

  function explain(error: unknown): never {
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${host().log}`, { cause: error });
  }

  async function isNetworkReady(): Promise<boolean> {
    const { status } = JSON.parse(await host().crictl("info")) as {
      status: { conditions: readonly { type: string; status: boolean }[] };
    };
    return status.conditions.find(({ type }) => type === "NetworkReady")?.status === true;
  }

  const runAll = (names: readonly string[]) => Promise.all(names.map((name) => host().runPod(name))).catch(explain);

  async function expectPods(count: number): Promise<void> {
    const { addresses, results, interfaces, scratchFiles } = await traces();
    const counts = [addresses, results, interfaces, scratchFiles].map(({ length }) => length);
    expect(counts).toEqual([count, count, count, count * perPod]);
  }

  test("a runtime is told when pods can start", async () => {
    const early = await host().tryVerb("status");
    expect(early.exitCode).toBe(1);
    if (way === "plugin") expect(early.stderr).toMatch(/code 50: .*flanneld has no subnet yet/);
    expect(await isNetworkReady()).toBe(false);
    host().agent.start();
    await until(async () => (await host().tryVerb("status")).exitCode === 0, { what: "STATUS" }).catch(explain);
    await until(isNetworkReady, { what: "NetworkReady" }).catch(explain);
  });

  test("twenty pods at once, ten times: each has its address, and nothing is left of them", async () => {
    for (let round = 0; round < 10; round++) {
      await runAll(twenty);
      await expectPods(20);
      if (round === 0) {
        const checked = await host().tryVerb("check");
        expect(checked).toMatchObject({ exitCode: 0, stderr: "" });
        expect(checked.stdout.trim().split("\n")).toHaveLength(20);
      }
      await host().removeAllPods();
      await untilTraces(noTraces);
    }
  });

  test("GC takes what the runtime does not name, and nothing else", async () => {
    const [first = "", second = "", third = "", fourth = ""] = await runAll(["a", "b", "c", "d"]);
    const { addresses } = await traces();
    // The library forgot one: only the plugin can know of it.
    await host().machine.run(["rm", `/var/lib/cni/results/cbr0-${third}-eth0`]);
    const alive = [first, second, ...(way === "plugin" ? [] : [third])];
    const collected = await host().tryVerb("gc", ...alive.map((id) => `${id}/eth0`));
    expect(collected).toMatchObject({ exitCode: 0, stderr: "" });
    const left = await traces();
    expect(left.addresses).toHaveLength(alive.length);
    expect(left.scratchFiles).toHaveLength(alive.length * perPod);
    expect(addresses).toEqual(expect.arrayContaining([...left.addresses]));
    for (const pod of [first, second]) {
      const address = await host().addressOf(pod);
      expect(left.addresses).toContain(address);
      await host().machine.run(["ping", "-n", "-c", "1", "-W", "5", address]);
    }
    expect((await host().tryVerb("gc", ...alive.map((id) => `${id}/eth0`))).exitCode).toBe(0);
    expect((await traces()).addresses).toEqual(left.addresses);
    expect(fourth).not.toBe("");
    await host().removeAllPods();
    await untilTraces(noTraces);
  });

  test("runtime and agent are killed while twenty pods come", async () => {
    const { machine } = host();
    const coming = Promise.allSettled(twenty.map((name) => host().runPod(name)));
    await until(async () => (await traces()).addresses.length >= 8, { what: "some of the addresses" });
    await Promise.all([host().containerd.stop(), host().agent.stop()]);
    await coming;
    host().agent.start();
    await host().startContainerd();
    await until(async () => (await host().tryVerb("status")).exitCode === 0, { what: "STATUS" }).catch(explain);
    await host().removeAllPods();
    // As if it had been long ago: what is young may be of a pod that is being made.
    const age = "find /var/lib/cni/networks/cbr0 /var/lib/cni/flannel -type f -exec touch -d '1 hour ago' {} + || :";
    await machine.run(["sh", "-c", age]);
    await host().flannelctl("cni", "gc");
    await untilTraces({ addresses: [], scratchFiles: [], interfaces: [] });
    // containerd itself may forget a name in /run/netns, of a namespace with nothing in it.
    expect(await occupiedNamespaces(machine)).toEqual([]);
  });

  test("the host is rebooted with twenty pods: their addresses are free when the agent is up", async () => {
    const { machine } = host();
    await runAll(twenty);
    await expectPods(20);
    await host().powerOff();
    await lan.replaceHost(machine.host);
    await host().up();
    // The kernel goes on in the lab: its clock of the boot does not begin again, so the files have to be older.
    await machine.run(["sh", "-c", "find /var/lib/cni -type f -exec touch -d 2001-01-01 {} +"]);
    const before = await traces();
    expect([before.addresses.length, before.interfaces.length]).toEqual([20, 0]);
    if (way === "plugin") expect((await host().tryVerb("status")).stderr).toContain("flanneld has no subnet yet");
    else {
      // The link of the time before leads nowhere: no pod can start, also where another configuration comes after it.
      expect((await machine.run(["readlink", conflist])).trim()).toBe(target);
      expect(await isNetworkReady()).toBe(false);
      await machine.run(["tee", later], JSON.stringify({ ...withPlugin, name: "later" }));
      await host().containerd.stop();
      await host().startContainerd();
      expect(await isNetworkReady()).toBe(false);
      await machine.run(["rm", later]);
    }
    host().agent.start();
    await until(isNetworkReady, { what: "NetworkReady" }).catch(explain);
    await untilTraces({ addresses: [], scratchFiles: [], interfaces: [] });
    await until(async () => (await host().tryVerb("status")).exitCode === 0, { what: "STATUS" }).catch(explain);
    await host().removeAllPods();
    await runAll(["new"]);
    await expectPods(1);
    await host().removeAllPods();
    await untilTraces(noTraces);
  });
});

test("pods of both hosts talk", async () => {
  const { configuration, plugin: other } = hosts;
  await configuration.runPod("one");
  const there = await other.addressOf(await other.runPod("two"));
  const [link = ""] = (await containerTraces(configuration.machine)).namespaces;
  const inPod = ["ip", "netns", "exec", link, "ping", "-n", "-c", "3", "-W", "5", there];
  expect(await configuration.machine.run(inPod)).toContain("3 received");
});
