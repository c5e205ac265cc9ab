// The bridge of containers, as the plugin `bridge` makes it, on a host whose subnet becomes another: a real agent replaces it as
// soon as nothing is attached to it, and tells until then what is. It counts the containers that come and go meanwhile.
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { addresses } from "../../lab/kernel-view.ts";
import { createNamespaces, removeNamespaces } from "../../lab/namespace.ts";
import { until, untilLines } from "../../lab/wait.ts";
import { Scene } from "../support/scene.ts";
import { leaseDirectory, leaseValue, putConfig, storePeer } from "../support/store-peers.ts";

const containers = ["c1", "c2", "c3"];
let scene: Scene;
let directory: string;
let conflist: string;

beforeAll(async () => {
  scene = await Scene.open(1);
  const { runDirectory, namespace } = scene.host(1);
  directory = `${runDirectory}-cni`;
  conflist = join(directory, "10-flannel.conflist");
  await createNamespaces(containers);
  await namespace.sysctl({ "net.ipv6.conf.all.disable_ipv6": 1 });
});

beforeEach(async () => {
  await scene.clear();
  await putConfig(scene.etcd);
  await rm(directory, { recursive: true, force: true });
  await mkdir(join(directory, "results"), { recursive: true });
  const ipam = { dataDir: join(directory, "networks") };
  const plugins = [{ type: "flannel", delegate: { isDefaultGateway: true }, ipam }];
  await writeFile(join(directory, "template.json"), JSON.stringify({ name: "cbr0", cniVersion: "1.0.0", plugins }));
});

afterAll(async () => {
  await removeNamespaces(containers);
  await scene?.[Symbol.asyncDispose]();
});

async function start(): Promise<LabAgent> {
  const args = [
    "--ip-masq",
    `--cni-conf-file=${conflist}`,
    `--cni-conf-template=${join(directory, "template.json")}`,
    `--cni-state-dir=${directory}`,
  ];
  const agent = scene.start(1, { args });
  await agent.untilReady();
  const { lease } = await agent.status();
  // The plugin has the subnet without its last byte.
  const subnet = lease?.subnet ?? "";
  await until(async () => (await readFile(conflist, "utf8")).includes(subnet), { what: `${subnet} in ${conflist}` });
  return agent;
}

/** Another host takes the subnet: the agent ends, and its next start finds another one. */
async function loseSubnet(agent: LabAgent): Promise<LabAgent> {
  const { lease } = await agent.status();
  await scene.etcd.put(leaseDirectory + lease?.key, leaseValue(storePeer(9)));
  expect(await agent.exited).toMatchObject({ code: 5 });
  return start();
}

/** As a runtime does by the agent's configuration, with libcni's note of it. */
async function call(command: "ADD" | "DEL", id: string): Promise<void> {
  const { name, cniVersion, plugins } = JSON.parse(await readFile(conflist, "utf8"));
  const env = {
    ...{ CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: `/run/netns/${id}` },
    ...{ CNI_IFNAME: "eth0", CNI_PATH: "/usr/lib/cni" },
  };
  const input = JSON.stringify({ name, cniVersion, ...plugins[0] });
  const result = await scene.host(1).namespace.run(["/usr/lib/cni/bridge"], { input, env: { ...process.env, ...env } });
  const note = join(directory, "results", `cbr0-${id}-eth0`);
  if (command === "DEL") return rm(note, { force: true });
  const noted = { kind: "cniCacheV1", containerId: id, ifName: "eth0", networkName: name, result: JSON.parse(result) };
  await writeFile(note, JSON.stringify(noted));
}

async function bridgeAddresses(): Promise<readonly string[]> {
  return (await addresses(scene.host(1).namespace, "cni0")).filter((address) => !address.startsWith("fe80"));
}

/** Ends of containers on the bridge that no result of a runtime names. */
async function unknownPorts(): Promise<readonly { ifname?: string }[]> {
  const { namespace } = scene.host(1);
  const [notes, ports] = [
    await readdir(join(directory, "results")),
    await namespace.ipJson("link", "show", "master", "cni0"),
  ];
  const texts = await Promise.all(notes.map((name) => readFile(join(directory, "results", name), "utf8")));
  return ports.filter(({ ifname }) => !texts.some((text) => text.includes(String(ifname)))) as { ifname?: string }[];
}

const gatewayOf = async (agent: LabAgent) => (await agent.untilSubnetEnv()).subnet ?? "";

async function isBridgeThere(): Promise<boolean> {
  const links = await scene.host(1).namespace.ipJson("link", "show", "type", "bridge");
  return links.some(({ ifname }) => ifname === "cni0");
}

it("is removed when nothing is attached, and the next container gets one with the new address", async () => {
  const first = await start();
  await call("ADD", "c1");
  const before = await gatewayOf(first);
  expect(await bridgeAddresses()).toEqual([before]);
  await call("DEL", "c1");
  const second = await loseSubnet(first);
  expect(await second.untilEvent("cni-bridge.removed")).toContain(before);
  expect(await isBridgeThere()).toBe(false);
  await call("ADD", "c2");
  const after = await gatewayOf(second);
  expect(after).not.toBe(before);
  expect(await bridgeAddresses()).toEqual([after]);
  await call("DEL", "c2");
  await scene.host(1).namespace.ip("link", "del", "cni0");
});

it("is told while a container of before hangs on it, and removed with the last one", async () => {
  const first = await start();
  await call("ADD", "c1");
  const second = await loseSubnet(first);
  const told = async () => (await second.status()).findings.find(({ name }) => name === "bridge-address-stale");
  const { evidence } = await until(told, { what: "the finding" });
  expect(evidence).toContain("the bridge cni0 with 1 attached interface");
  await expect(call("ADD", "c2")).rejects.toThrow(/already has an IP address different from/);
  // The plugin leaves an interface.
  const leftover = async () => (await second.status()).findings.find(({ name }) => name === "container-leftover");
  const [{ ifname = "" } = {}] = await unknownPorts();
  const found = await until(leftover, { what: "the finding about the interface" });
  expect(found.evidence).toContain(`1 interface of the bridge cni0 (${ifname}) belong`);
  // As runtimes do after a failure.
  await call("DEL", "c2");
  await until(async () => (await leftover()) === undefined, { what: "the finding to go" });
  await call("DEL", "c1");
  await second.untilEvent("cni-bridge.removed");
  await call("ADD", "c3");
  await untilLines(bridgeAddresses, [await gatewayOf(second)], { what: "the bridge's new address" });
  const metric = (name: Parameters<LabAgent["metric"]>[0]) => second.metric(name);
  const look = async () => {
    expect(await metric("flannel_cni_add_errors_total")).toEqual({ "code=delegate": 1 });
    expect(await metric("flannel_cni_adds_total")).toEqual({ "cni_network=cbr0": 1 });
    expect(await metric("flannel_cni_dels_total")).toEqual({ "cni_network=cbr0": 1 });
    expect(await metric("flannel_cni_attachments")).toEqual({ "cni_network=cbr0": 1 });
    return true;
  };
  await until(look, { what: "the counts" });
  await call("DEL", "c3");
  await scene.host(1).namespace.ip("link", "del", "cni0");
});
