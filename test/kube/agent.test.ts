// flanneld --kube-subnet-mgr against a real API server with upstream's rights: what it writes to its Node, what it makes of
// other Nodes, what it waits for, and what it does when the API server or a right is away.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { tryRun } from "../../lab/command.ts";
import { fdb, link, neighbours, routes } from "../../lab/kernel-view.ts";
import { flannelRules, KubernetesApi, type PolicyRule, type ServiceAccount } from "../../lab/kubernetes/api-server.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { until, untilLines } from "../../lab/wait.ts";

const prefix = "flannel.alpha.coreos.com/";
const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
const vxlan = { Network: "10.244.0.0/16", Backend: { Type: "vxlan" } };

let lan: Lan;
let api: KubernetesApi;
let account: ServiceAccount;
let kubeconfig: string;
const agents = new Set<LabAgent>();
const nodes = new Set<string>();

beforeAll(async () => {
  lan = await createLan({ hosts: 2, ipv6: true });
  api = await KubernetesApi.start({ families: "dual" });
  account = await api.createServiceAccount("kube-flannel", "flannel", flannelRules);
  kubeconfig = await api.kubeconfigOfAccount(account, api.serverAddress);
});

afterEach(async () => {
  await api.grant(account, flannelRules);
  for (const agent of agents) await agent[Symbol.asyncDispose]();
  agents.clear();
  for (const name of nodes) await api.deleteNode(name).catch(() => undefined);
  nodes.clear();
  for (const { namespace, runDirectory } of lan.hosts) {
    const links = await namespace.ipJson("link", "show");
    const ours = links.map(({ ifname }) => String(ifname)).filter((name) => name.startsWith("flannel"));
    await namespace.ipBatch(ours.map((name) => `link del dev ${name}`));
    await rm(runDirectory, { recursive: true, force: true });
  }
});

afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await lan[Symbol.asyncDispose]();
});

const configFile = (number: number) => join(lan.host(number).runDirectory, "net-conf.json");

async function writeConfig(number: number, config: object | undefined): Promise<void> {
  await mkdir(lan.host(number).runDirectory, { recursive: true });
  if (config !== undefined) await writeFile(configFile(number), JSON.stringify(config));
}

interface StartOptions {
  readonly config?: object | null;
  readonly kubeconfig?: string;
  readonly args?: readonly string[];
}

async function start(number: number, options: StartOptions = {}): Promise<LabAgent> {
  await writeConfig(number, options.config === null ? undefined : (options.config ?? vxlan));
  const args = [
    ...["--kube-subnet-mgr", `--kubeconfig-file=${options.kubeconfig ?? kubeconfig}`],
    ...[`--net-config-path=${configFile(number)}`, ...(options.args ?? [])],
  ];
  const agent = LabAgent.start(lan.host(number), { args, env: { NODE_NAME: `h${number}`, EVENT_QUEUE_DEPTH: "5000" } });
  agents.add(agent);
  return agent;
}

async function createNode(name: string, options: Parameters<KubernetesApi["createNode"]>[1] = {}): Promise<void> {
  nodes.add(name);
  await api.createNode(name, options);
}

const mac = (number: number) => `1a:00:00:00:00:${number.toString(16).padStart(2, "0")}`;

function peer(number: number, changes: Readonly<Record<string, string>> = {}) {
  return {
    podCidrs: [`10.244.${number}.0/24`],
    annotations: Object.fromEntries(
      Object.entries({
        ...{ "kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": `192.168.50.${number}` },
        "backend-data": `{"VNI":1,"VtepMAC":"${mac(number)}"}`,
        ...changes,
      }).map(([name, value]) => [prefix + name, value]),
    ),
  };
}

const annotate = (name: string, changes: Readonly<Record<string, string | null>>) =>
  api.annotateNode(
    name,
    Object.fromEntries(Object.entries(changes).map(([suffix, value]) => [prefix + suffix, value])),
  );

/** Routes, neighbours and FDB entries of the device on a host. */
async function overlay(number: number): Promise<readonly string[]> {
  const { namespace } = lan.host(number);
  const all = await Promise.all([
    routes(namespace, "dev", "flannel.1"),
    neighbours(namespace, "flannel.1"),
    fdb(namespace, "flannel.1"),
  ]);
  return all.flat();
}

function linesOf(number: number, { macOf = mac(number), publicIp = `192.168.50.${number}` } = {}): readonly string[] {
  const subnet = `10.244.${number}.0`;
  return [
    `${subnet}/24 via ${subnet} onlink`,
    `${subnet} lladdr ${macOf} PERMANENT`,
    `${macOf} dst ${publicIp} self permanent`,
  ];
}

const overlayIs = (number: number, lines: readonly string[], what: string) =>
  untilLines(() => overlay(number), lines, { what });

async function condition(name: string) {
  const { status } = await api.node(name);
  return status?.conditions?.find(({ type }) => type === "NetworkUnavailable");
}

function ctl(agent: LabAgent, ...words: readonly string[]) {
  const node = `NODE_NAME=${agent.host.name}`;
  const argv = ["env", node, flannelctl, `--subnet-file=${agent.subnetFile}`, `--kubeconfig=${kubeconfig}`, ...words];
  return tryRun(agent.host.namespace.command(argv));
}

const without = (verb: string, resource: string): PolicyRule[] =>
  flannelRules
    .map((rule) =>
      rule.resources.includes(resource) ? { ...rule, verbs: rule.verbs.filter((one) => one !== verb) } : rule,
    )
    .filter(({ verbs }) => verbs.length > 0);

describe("two hosts", () => {
  it("take their podCIDRs, announce themselves as upstream does, and know each other", async () => {
    await createNode("h1", { podCidrs: ["10.244.1.0/24"] });
    await createNode("h2", { podCidrs: ["10.244.2.0/24"] });
    const [first, second] = [await start(1, { args: ["--ip-masq"] }), await start(2)];
    await Promise.all([first.untilReady(), second.untilReady()]);
    const macs = await Promise.all(
      [1, 2].map(async (number) => (await link(lan.host(number).namespace, "flannel.1"))?.mac ?? ""),
    );
    expect((await api.node("h1")).metadata.annotations).toEqual({
      [`${prefix}kube-subnet-manager`]: "true",
      [`${prefix}backend-type`]: "vxlan",
      [`${prefix}backend-data`]: `{"VNI":1,"VtepMAC":"${macs[0]}"}`,
      [`${prefix}public-ip`]: "192.168.50.11",
    });
    await overlayIs(1, linesOf(2, { macOf: macs[1] ?? "", publicIp: "192.168.50.12" }), "the way to h2");
    expect(await readFile(first.subnetFile, "utf8")).toBe(
      "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
    );
    const told = await until(() => condition("h1"), { what: "the condition" });
    expect(told).toMatchObject({ status: "False", reason: "FlannelIsUp", message: "Flannel is running on this node" });
    const list = await ctl(first, "lease", "list");
    expect(list.stdout).toMatch(/^NODE +SUBNET .*\nh1 +10.244.1.0\/24 +192.168.50.11 +vxlan +\S+\nh2 /);
    expect((await ctl(first, "status")).stdout).toContain("Kubernetes API https://192.168.50.1:6443");
    const page = await ctl(first, "--json", "lease", "show", "h2");
    expect(JSON.parse(page.stdout)).toMatchObject({ lease: { key: "h2", subnet: "10.244.2.0/24" } });
    expect((await ctl(first, "lease", "show", "h9")).stderr).toContain("there is no lease h9");
    expect((await ctl(first, "lease", "release", "h2")).stderr).toContain("Node h2 keeps its podCIDR");
    const before = (await api.node("h1")).metadata.resourceVersion;
    await first[Symbol.asyncDispose]();
    const again = await start(1, { args: ["--ip-masq"] });
    await again.untilReady();
    expect((await api.node("h1")).metadata.resourceVersion, "a restart writes nothing").toBe(before);
    await again[Symbol.asyncDispose]();
    await annotate("h1", { "public-ip": "203.0.113.5" });
    const gone = await ctl(again, "cleanup", "--release", "--all");
    expect({ stdout: gone.stdout, stderr: gone.stderr }).toMatchObject({
      stdout: expect.stringContaining("removed lease h1"),
    });
    const { metadata, status } = await api.node("h1");
    expect([metadata.annotations, status?.conditions]).toEqual([undefined, undefined]);
    await overlayIs(2, [], "no way to h1");
  });

  it("have both families, and follow a change of one of them", async () => {
    const dual = { ...vxlan, EnableIPv6: true, IPv6Network: "fd00:244::/56" };
    await createNode("h1", { podCidrs: ["10.244.1.0/24", "fd00:244:0:1::/64"] });
    const v6 = { "backend-v6-data": `{"VNI":1,"VtepMAC":"${mac(0x72)}"}`, "public-ipv6": "fd00:50::72" };
    const { podCidrs, annotations } = peer(114, v6);
    await createNode("p", { podCidrs: [...podCidrs, "fd00:244:0:72::/64"], annotations });
    const agent = await start(1, { config: dual });
    await agent.untilReady();
    const ipv6Way = () => fdb(lan.host(1).namespace, "flannel-v6.1");
    await untilLines(ipv6Way, [`${mac(0x72)} dst fd00:50::72 self permanent`], { what: "the peer's IPv6 address" });
    await annotate("p", { "public-ipv6": "fd00:50::73" });
    await untilLines(ipv6Way, [`${mac(0x72)} dst fd00:50::73 self permanent`], { what: "the new IPv6 address" });
    expect(await routes(lan.host(1).namespace, "dev", "flannel-v6.1")).toContainEqual(
      expect.stringContaining("fd00:244:0:72::/64 via fd00:244:0:72:: "),
    );
  });
});

describe("other Nodes", () => {
  it("come, change their MAC and address, are wrong, lose their annotations and go", async () => {
    await createNode("h1", { podCidrs: ["10.244.1.0/24"] });
    for (const number of [101, 102, 103]) await createNode(`p${number}`, peer(number));
    await createNode("other", peer(104, { "backend-type": "wireguard" }));
    await createNode("bare", { podCidrs: ["10.244.105.0/24"] });
    await createNode("windows", peer(106, { "backend-data": `{"VNI":4096,"VtepMAC":"${mac(106)}"}` }));
    const agent = await start(1);
    const others = [...linesOf(102), ...linesOf(103), ...linesOf(106)];
    await overlayIs(1, [...linesOf(101), ...others], "the ways to the peers");
    expect((await agent.status()).peers.skipped).toEqual([
      { key: "other", reason: 'has backend type "wireguard", not vxlan' },
    ]);
    await annotate("p101", { "backend-data": `{"VNI":1,"VtepMAC":"${mac(200)}"}`, "public-ip": "192.168.50.200" });
    const moved = linesOf(101, { macOf: mac(200), publicIp: "192.168.50.200" });
    await overlayIs(1, [...moved, ...others], "the new way, and nothing of the old");
    await annotate("p101", { "backend-data": "{" });
    await agent.untilEvent("lease.unreadable");
    await annotate("p102", { "kube-subnet-manager": null });
    await api.deleteNode("p103");
    await overlayIs(1, [...moved, ...linesOf(106)], "the ways that are left");
    await api.deleteNode("p102");
    await createNode("p103", { ...peer(103), podCidrs: ["10.244.203.0/24"] });
    const anew = linesOf(203, { macOf: mac(103), publicIp: "192.168.50.103" });
    await overlayIs(1, [...moved, ...linesOf(106), ...anew], "the Node made anew");
  });
});

describe("our own Node", () => {
  it("is followed: annotations of people, of vandals, and another podCIDR", async () => {
    await createNode("h1", { podCidrs: ["10.244.1.0/24"] });
    const agent = await start(1);
    await agent.untilReady();
    const announced = async () => (await api.node("h1")).metadata.annotations?.[`${prefix}public-ip`];
    await annotate("h1", { "public-ip-overwrite": "203.0.113.9" });
    await until(async () => (await announced()) === "203.0.113.9", { what: "the overwrite" });
    await annotate("h1", { "public-ip-overwrite": null });
    await until(async () => (await announced()) === "192.168.50.11", { what: "our own address" });
    await annotate("h1", { "public-ip": null, "kube-subnet-manager": null });
    await until(async () => (await announced()) === "192.168.50.11", { what: "the annotations again" });
    expect(agent.events("node.annotations-changed")).toHaveLength(1);
    await annotate("h1", { "node-public-ip": "192.168.50.211" });
    await until(async () => (await announced()) === "192.168.50.211", { what: "the demanded address" });
    await annotate("h1", { "node-public-ip": null });
    await until(async () => (await announced()) === "192.168.50.11", { what: "the interface's address" });
    await api.deleteNode("h1");
    await createNode("h1", { podCidrs: ["10.244.9.0/24"] });
    await until(async () => (await readFile(agent.subnetFile, "utf8")).includes("FLANNEL_SUBNET=10.244.9.1/24"), {
      what: "the new subnet in the subnet file",
    });
    await until(async () => (await announced()) === "192.168.50.11", { what: "the announcement on the new Node" });
    await agent.untilReady();
  });

  it("gives its MAC back to a host that lost its files", async () => {
    await createNode("h1", peer(77, { "public-ip": "192.168.50.11" }));
    const agent = await start(1);
    await agent.untilReady();
    expect((await link(lan.host(1).namespace, "flannel.1"))?.mac).toBe(mac(77));
  });
});

describe("what is missing is waited for, and named", () => {
  it("configuration, Node, podCIDR, and one inside of the network", async () => {
    await api.grant(account, [...flannelRules, { apiGroups: [""], resources: ["events"], verbs: ["create"] }]);
    const agent = await start(1, { config: null });
    const line = await agent.untilEvent("config.unavailable");
    expect(line).toContain("net-conf.json");
    await writeConfig(1, vxlan);
    await until(
      async () => (await agent.status()).reasons.some(({ message }) => message.includes("there is no Node h1")),
      {
        what: "the missing Node in the status",
      },
    );
    await createNode("h1");
    await until(async () => (await agent.status()).reasons.some(({ message }) => message.includes("no podCIDR yet")), {
      what: "the missing podCIDR in the status",
    });
    const told = await until(() => condition("h1"), { what: "the condition" });
    expect(told).toMatchObject({ status: "True", reason: "FlannelNotReady" });
    const events = await until(
      async () => {
        const { items } = await api.client.get<{ items: { message: string; involvedObject: { name: string } }[] }>(
          "/api/v1/namespaces/default/events",
        );
        return items.find(
          ({ message, involvedObject }) => involvedObject.name === "h1" && message.includes("no podCIDR"),
        );
      },
      { what: "an Event on the Node" },
    );
    expect(events.message).toContain("--allocate-node-cidrs");
    await api.givePodCidrs("h1", ["10.245.1.0/24"]);
    await until(
      async () =>
        (await agent.status()).reasons.some(({ message }) => message.includes("is not inside Network 10.244.0.0/16")),
      { what: "the wrong podCIDR in the status" },
    );
    await writeConfig(1, { ...vxlan, Network: "10.245.0.0/16" });
    await agent.untilReady();
    await until(async () => (await condition("h1"))?.status === "False", { what: "the condition" });
  });

  it.each([
    ["get", "nodes", "lease.unavailable"],
    ["list", "nodes", "store.unreachable"],
    ["watch", "nodes", "store.disconnected"],
    ["patch", "nodes/status", "lease.unavailable"],
  ])("the right to %s %s", async (verb, resource, event) => {
    await createNode("h1", { podCidrs: ["10.244.1.0/24"] });
    await api.grant(account, without(verb, resource));
    const agent = await start(1);
    const line = await agent.untilEvent(event);
    expect(line.replaceAll("\\", "")).toContain(
      `allow the verb "${verb}" on "${resource}" in the ClusterRole of flannel`,
    );
    await api.grant(account, flannelRules);
    await agent.untilReady();
  });

  it("a token that has expired, until there is another one in its file", async () => {
    await createNode("h1", { podCidrs: ["10.244.1.0/24"] });
    await mkdir(lan.host(1).runDirectory, { recursive: true });
    const [tokenFile, file] = ["token", "kubeconfig"].map((name) => join(lan.host(1).runDirectory, name));
    await writeFile(tokenFile ?? "", await api.token(account, -120));
    const config = JSON.parse(await readFile(kubeconfig, "utf8")) as { users: { user: object }[] };
    config.users = config.users.map((entry) => ({ ...entry, user: { tokenFile } }));
    await writeFile(file ?? "", JSON.stringify(config));
    const agent = await start(1, { kubeconfig: file ?? "" });
    expect(await agent.untilEvent("lease.unavailable")).toContain("does not accept the credentials");
    await writeFile(tokenFile ?? "", await api.token(account));
    await agent.untilReady();
  });
});

describe("the API server is away", () => {
  it("a start goes on with what is remembered; what happened meanwhile is made up for", async () => {
    await createNode("h1", { podCidrs: ["10.244.1.0/24"] });
    for (const number of [101, 102]) await createNode(`p${number}`, peer(number));
    const agent = await start(1);
    await agent.untilReady();
    await overlayIs(1, [...linesOf(101), ...linesOf(102)], "the ways to the peers");
    await until(async () => (await readFile(agent.subnetFile, "utf8")) !== "", { what: "the subnet file" });
    await agent.term();
    await api.server.stop();
    await lan.host(1).namespace.ip("link", "del", "flannel.1");
    await rm(agent.subnetFile);
    const again = await start(1);
    await again.untilEvent("warm-start");
    await overlayIs(1, [...linesOf(101), ...linesOf(102)], "the remembered ways");
    await until(async () => (await readFile(again.subnetFile, "utf8")).includes("10.244.1.1/24"), {
      what: "the subnet file",
    });
    await api.restart();
    await again.untilReady();
    await api.deleteNode("p101");
    await api.restart();
    await createNode("p103", peer(103));
    await overlayIs(1, [...linesOf(102), ...linesOf(103)], "the ways as they are now");
  });

  it("and comes back with an older copy of its store, of which no watch tells: the copy counts", async () => {
    await createNode("h1", { podCidrs: ["10.244.1.0/24"] });
    await createNode("p101", peer(101));
    const agent = await start(1);
    await agent.untilReady();
    const putBack = await api.etcd?.copyData();
    await createNode("p102", peer(102));
    await annotate("p101", { "public-ip": "192.168.50.201" });
    // More writes than the API server itself makes when it starts: its store stays behind what the agent has seen.
    for (let write = 0; write < 300; write++) await api.annotateNode("p102", { write: String(write) });
    await overlayIs(1, [...linesOf(101, { publicIp: "192.168.50.201" }), ...linesOf(102)], "the ways before");
    await api.server.stop();
    await putBack?.();
    await api.restart();
    // Peers that the copy lacks are kept for a minute: they may be about to announce themselves again.
    await overlayIs(1, [...linesOf(101), ...linesOf(102)], "the address of the copy");
    await createNode("p103", peer(103));
    await overlayIs(1, [...linesOf(101), ...linesOf(102), ...linesOf(103)], "what happens after it");
  });
});
