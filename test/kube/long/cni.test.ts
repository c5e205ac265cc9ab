// Pods attached by real kubelets and containerd, through the configuration that the agent writes and through upstream's plugin: at
// once, while runtime and agent are killed, over a change between the ways. Nothing may be left of them on the node.
import { readFile, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KubernetesCluster } from "../../../lab/kubernetes/cluster.ts";
import type { KubernetesNode } from "../../../lab/kubernetes/node.ts";
import { busyboxImage } from "../../../lab/kubernetes/node-config.ts";
import { upstreamPlugin } from "../../../lab/runtime/flannel-plugin.ts";
import { until } from "../../../lab/wait.ts";
import { packageImage } from "../../../packaging/image/image.ts";
import { containerTraces, noTraces, occupiedNamespaces } from "../../support/container-traces.ts";

const imageFile = "/run/flannel-image.tar";
const flannelctl = fileURLToPath(new URL("../../../bin/flannelctl", import.meta.url));
const addressDirectory = "/var/lib/cni/networks/cbr0";
const pods = "/api/v1/namespaces/default/pods";
const upstreamConflist = {
  name: "cbr0",
  cniVersion: "0.3.1",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

let cluster: KubernetesCluster;
let node: KubernetesNode;
let manifest: string;

beforeAll(async () => {
  const dualStack = '"EnableIPv6": true,\n      "IPv6Network": "fd00:244::/56",\n      "EnableNFTables"';
  manifest = (await readFile("deploy/kubernetes/kube-flannel.yml", "utf8")).replace('"EnableNFTables"', dualStack);
  const image = /^\s*image: (\S+)$/m.exec(manifest)?.[1] ?? "";
  packageImage({ name: image, output: imageFile, isQuick: true });
  cluster = await KubernetesCluster.start({ families: "dual", nodes: 1, images: [imageFile] });
  await rm(imageFile);
  node = cluster.node(1);
  await cluster.apply(manifest);
  await cluster.untilNode(1).catch((error: unknown) => cluster.explain(error));
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

const traces = () => containerTraces(node);

function untilTraces(expected: object): Promise<unknown> {
  const look = async () => {
    const found = await traces();
    expect(found).toMatchObject(expected);
    return true;
  };
  return until(look, { what: "traces of containers" }).catch((error: unknown) => cluster.explain(error));
}

async function create(names: readonly string[]): Promise<void> {
  const container = { name: "main", image: busyboxImage, imagePullPolicy: "Never", command: ["sleep", "3600"] };
  const spec = { nodeName: node.name, terminationGracePeriodSeconds: 0, containers: [container] };
  const post = (name: string) => cluster.api.client.post(pods, { metadata: { name }, spec });
  await Promise.all(names.map((name) => until(() => post(name), { what: `${name} to be accepted` })));
}

async function phases(): Promise<string[]> {
  const { items } = await cluster.api.client.get<{ items: readonly { status: { phase: string } }[] }>(pods);
  return items.map(({ status }) => status.phase);
}

async function untilRunning(count: number): Promise<void> {
  const look = async () => (await phases()).filter((phase) => phase === "Running").length === count;
  await until(look, { what: `${count} running pods` }).catch((error: unknown) => cluster.explain(error));
}

async function removeAll(names: readonly string[]): Promise<void> {
  await Promise.all(names.map((name) => cluster.api.client.delete(`${pods}/${name}`)));
  await until(async () => (await phases()).length === 0, { what: "the pods to be gone" });
}

const twenty = Array.from({ length: 20 }, (_, index) => `p${index}`);

test("twenty pods at once, ten times: each has its addresses, and nothing is left of them", async () => {
  await untilTraces(noTraces);
  for (let round = 0; round < 10; round++) {
    await create(twenty);
    await untilRunning(20);
    const { addresses, interfaces, scratchFiles } = await traces();
    expect([addresses.length, interfaces.length, scratchFiles.length]).toEqual([40, 20, 0]);
    await removeAll(twenty);
    await untilTraces(noTraces);
  }
});

test("containers of ctr, which uses the same configuration", async () => {
  const words = ["ctr", "-n", "k8s.io", "run", "--rm", "--cni", busyboxImage, "mine", "ip", "addr"];
  expect(await node.run(words)).toMatch(/inet 10\.244\.\d+\.\d+\/24[\s\S]*inet6 fd00:244:/);
  await untilTraces(noTraces);
});

test("runtime and agent are killed while twenty pods come: what the runtime forgot is freed by its answer", async () => {
  await create(twenty);
  await until(async () => (await traces()).addresses.length >= 10, { what: "half of the addresses" });
  await Promise.all([node.containerd.stop(), node.kill("flanneld")]);
  node.containerd.start();
  await untilRunning(20);
  // As if it had all been long ago: young ones may be of a pod that is being made. One is of a pod that nobody knows.
  const lost = `${addressDirectory}/10.244.0.251`;
  const script = `printf '%s\\r\\neth0' ${"a".repeat(64)} >${lost}; touch -d '1 hour ago' ${addressDirectory}/*`;
  await node.run(["sh", "-ec", script]);
  expect(await node.run([flannelctl, "cni", "gc", "--dry-run"])).toContain("would free 10.244.0.251");
  expect(await node.run([flannelctl, "cni", "gc"])).toContain("freed 10.244.0.251");
  await cluster.node(1).containerd.stop();
  expect((await node.tryRun([flannelctl, "cni", "gc"])).exitCode).not.toBe(0);
  node.containerd.start();
  await untilRunning(20);
  expect((await traces()).addresses.length).toBeGreaterThanOrEqual(40);
  await removeAll(twenty);
  await node.run(["sh", "-ec", `touch -d '1 hour ago' ${addressDirectory}/*`]);
  await node.run([flannelctl, "cni", "gc"]);
  await untilTraces({ addresses: [], scratchFiles: [], interfaces: [] });
  // containerd itself may forget a name in /run/netns, of a namespace with nothing in it.
  expect(await occupiedNamespaces(node)).toEqual([]);
});

test("what an earlier boot has left is freed at the start of the agent", async () => {
  const id = "b".repeat(64);
  const cached = JSON.stringify({
    ...{ kind: "cniCacheV1", containerId: id, ifName: "eth0", networkName: "cbr0" },
    result: { cniVersion: "0.3.1", interfaces: [{ name: "cni0" }, { name: "vethgone" }] },
  });
  const script = [
    `printf '%s\\r\\neth0' ${id} >/var/lib/cni/networks/cbr0/10.244.0.250`,
    `printf '%s' '${cached}' >/var/lib/cni/results/cbr0-${id}-eth0`,
    "touch -d '2001-01-01' /var/lib/cni/networks/cbr0/10.244.0.250",
  ];
  await node.run(["sh", "-ec", script.join("\n")]);
  await create(["alive"]);
  await untilRunning(1);
  await node.kill("flanneld");
  await until(async () => !(await traces()).addresses.includes("10.244.0.250"), { what: "the address to be freed" });
  expect((await traces()).addresses).toHaveLength(2);
  await removeAll(["alive"]);
  await untilTraces({ addresses: [], interfaces: [] });
});

test("to upstream's way and back: pods of before are deleted after, and nothing is left", async () => {
  await create(["before"]);
  await untilRunning(1);
  const { addresses } = await traces();
  expect(await node.run([flannelctl, "handover"])).toContain("wrote 1 scratch file for upstream's CNI plugin");
  await cluster.api.kubectl(["delete", "-n", "kube-flannel", "daemonset/kube-flannel-ds"]);
  await node.run(["cp", upstreamPlugin(), "/opt/cni/bin/flannel"]);
  await node.run(["tee", "/etc/cni/net.d/10-flannel.conflist"], JSON.stringify(upstreamConflist));
  await create(["between"]);
  await untilRunning(2);
  expect((await traces()).scratchFiles).toHaveLength(2);
  await cluster.api.client.delete(`${pods}/before`);
  const look = async () => {
    const left = await traces();
    return left.scratchFiles.length === 1 && addresses.every((address) => !left.addresses.includes(address));
  };
  await until(look, { what: "the pod of before to be gone" });
  await cluster.apply(manifest);
  const isOurs = () => node.readFile("/etc/cni/net.d/10-flannel.conflist").includes("host-local");
  await until(isOurs, { what: "our configuration" }).catch((error: unknown) => cluster.explain(error));
  await create(["after"]);
  await untilRunning(2);
  await removeAll(["between", "after"]);
  await untilTraces({ addresses: [], interfaces: [], namespaces: [] });
  await node.run(["sh", "-c", "touch -d '1 hour ago' /var/lib/cni/flannel/*"]);
  await untilTraces(noTraces);
});
