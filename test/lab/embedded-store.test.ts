// Networks without etcd: three hosts on one flannel-store, and a host that brings its own with `--store=embedded`.
import { readdir, readFile, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { EmbeddedStore } from "../../lab/embedded-store.ts";
import { createLan } from "../../lab/lan.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";

const config = JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "vxlan" } });
const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));

it("three hosts on one store: packets go on while it is down, a host that comes later is seen by all", async () => {
  await using resources = new AsyncDisposableStack();
  const lan = resources.use(await createLan({ hosts: 3 }));
  const store = resources.use(await EmbeddedStore.start(lan.storeAddress));
  await store.put("/coreos.com/network/config", config);
  const start = (index: number) => resources.use(LabAgent.start(lan.host(index), { etcdEndpoints: store.endpoints }));
  const agents = [start(1), start(2)];
  await Promise.all(agents.map((agent) => agent.untilReady({ peers: 1 })));
  const pods = await Promise.all(agents.map(async (agent) => attachPod(agent.host, await agent.untilSubnetEnv())));
  await untilAllPing(pods);
  await store.kill9();
  await untilAllPing(pods);
  await store.restart();
  agents.push(start(3));
  await Promise.all(agents.map((agent) => agent.untilReady({ peers: 2 })));
  const third = agents[2]!;
  pods.push(await attachPod(third.host, await third.untilSubnetEnv()));
  await untilAllPing(pods);
  expect(await store.list("/coreos.com/network/subnets/")).toHaveLength(3);
});

it("several networks on one store: each has a subnet, packets and options for a Docker of its own", async () => {
  await using resources = new AsyncDisposableStack();
  const lan = resources.use(await createLan({ hosts: 2 }));
  const store = resources.use(await EmbeddedStore.start(lan.storeAddress));
  const networks = {
    red: { Network: "10.1.0.0/16", Backend: { Type: "vxlan", VNI: 11 } },
    blue: { Network: "10.2.0.0/16", Backend: { Type: "host-gw" } },
  };
  const args = ["--watch-networks", "--ip-masq"];
  const start = (index: number) =>
    resources.use(LabAgent.start(lan.host(index), { isSeveral: true, etcdEndpoints: store.endpoints, args }));
  const agents = [start(1), start(2)];
  const pods: Record<string, Pod[]> = {};
  for (const [name, network] of Object.entries(networks)) {
    await store.put(`/coreos.com/network/${name}/config`, JSON.stringify(network));
    for (const agent of agents) await agent.untilNetworkReady(name, 1);
    const devices = { bridge: `br-${name}`, port: `port-${name}` };
    const attach = async (agent: LabAgent) =>
      attachPod(agent.host, await agent.untilNetworkEnv(name), `${agent.host.name}-${name}`, devices);
    pods[name] = await Promise.all(agents.map(attach));
  }
  for (const name of Object.keys(networks)) await untilAllPing(pods[name] ?? []);
  for (const agent of agents) {
    const options: Record<string, string> = {};
    for (const name of Object.keys(networks)) {
      const file = `${agent.directory}/docker-${name}.env`;
      await agent.host.namespace.run(["bin/mk-docker-opts", "-c", "-f", agent.networkFile(name), "-d", file]);
      options[name] = (await readFile(file, "utf8")).trim();
    }
    const bip = async (name: string) => (await agent.untilNetworkEnv(name)).subnet;
    expect(options).toEqual({
      red: `DOCKER_OPTS=" --bip=${await bip("red")} --ip-masq=false --mtu=1450"`,
      blue: `DOCKER_OPTS=" --bip=${await bip("blue")} --ip-masq=false --mtu=1500"`,
    });
  }
  await store.restart();
  await store.put(
    "/coreos.com/network/green/config",
    JSON.stringify({ Network: "10.3.0.0/16", Backend: { Type: "udp" } }),
  );
  for (const agent of agents) await agent.untilNetworkReady("green", 1);
  for (const name of Object.keys(networks)) await untilAllPing(pods[name] ?? []);
});

it("flanneld --store=embedded --networks: waits for each of them, and serves what is there", async () => {
  await using resources = new AsyncDisposableStack();
  const lan = resources.use(await createLan({ hosts: 1 }));
  const host = lan.host(1);
  const args = ["--store=embedded", "--networks=red,blue"];
  const agent = resources.use(LabAgent.start(host, { isSeveral: true, args }));
  await agent.untilEvent("store.opened");
  const set = (name: string, network: unknown) =>
    host.namespace.run(
      [flannelctl, `--state-dir=${agent.directory}/state`, "config", "set", `--network=${name}`, "-"],
      { input: JSON.stringify(network) },
    );
  await set("red", { Network: "10.1.0.0/16", Backend: { Type: "vxlan", VNI: 11 } });
  await agent.untilNetworkReady("red", 0);
  expect((await agent.networkStatus("blue")).state).toBe("notReady");
  await set("blue", { Network: "10.2.0.0/16", Backend: { Type: "host-gw" } });
  await agent.untilNetworkReady("blue", 0);
});

/** Processes that run flannel-store, by pid. */
async function storeProcesses(): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const isStore = async (pid: string) =>
    (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).includes("flannel-store.mjs");
  const found = await Promise.all(pids.map(async (pid) => ((await isStore(pid)) ? [Number(pid)] : [])));
  return found.flat();
}

it("flanneld --store=embedded: agent and store in one go, for root alone, which live and die together", async () => {
  await using resources = new AsyncDisposableStack();
  const lan = resources.use(await createLan({ hosts: 1 }));
  const host = lan.host(1);
  const agent = resources.use(LabAgent.start(host, { args: ["--store=embedded"] }));
  await agent.untilEvent("store.opened");
  const stateDirectory = `--state-dir=${agent.directory}/state`;
  await host.namespace.run([flannelctl, stateDirectory, "config", "set", "-"], { input: config });
  await agent.untilReady({ peers: 0 });
  const socket = `${agent.directory}/state/store/flannel-store.sock`;
  expect((await agent.status()).store.description).toContain(`unix://${socket}`);
  expect((await stat(socket)).mode & 0o777).toBe(0o600);
  expect(await host.namespace.run(["ss", "-Hltn"])).not.toContain(":2379");
  const [first = 0] = await storeProcesses();
  process.kill(first, "SIGKILL");
  await agent.untilEvent("store.restarted");
  expect(await host.namespace.run([flannelctl, stateDirectory, "lease", "list"])).toContain(host.ipv4);
  process.kill(agent.pid, "SIGKILL");
  await agent.exited;
  await until(async () => (await storeProcesses()).length === 0, { what: "the store to end with the killed agent" });
  const listen = ["--store=embedded", "--store-listen=127.0.0.1:2379"];
  const next = resources.use(LabAgent.start(host, { args: listen }));
  await next.untilEvent("store.open-to-users");
  await next.untilReady({ peers: 0 });
  const overTcp = "--etcd-endpoints=http://127.0.0.1:2379";
  expect(await host.namespace.run([flannelctl, overTcp, "lease", "list"])).toContain(host.ipv4);
  process.kill(next.pid, "SIGTERM");
  expect(await next.exited).toEqual({ code: 0, signal: null });
  expect(await storeProcesses()).toEqual([]);
});
