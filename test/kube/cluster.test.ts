// A cluster of two real nodes with our manifest applied as a user would: pods of both nodes talk in every way that
// Kubernetes has, and go on talking while the agent is deleted, killed, rolled out, and its API server away.
import { readFile, rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KubernetesCluster, type KubernetesPod } from "../../lab/kubernetes/cluster.ts";
import { httpName, peerSeenBy, UdpEcho, udpAnswers } from "../../lab/kubernetes/talk.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { ContinuousPing, ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { packageImage } from "../../packaging/image/image.ts";

const manifestFile = "deploy/kubernetes/kube-flannel.yml";
const imageFile = "/run/flannel-image.tar";
const dualStack = '"EnableIPv6": true,\n      "IPv6Network": "fd00:244::/56",\n      "EnableNFTables"';

let cluster: KubernetesCluster;
let manifest: string;
let pods: readonly [KubernetesPod, KubernetesPod, KubernetesPod];

beforeAll(async () => {
  manifest = (await readFile(manifestFile, "utf8")).replace('"EnableNFTables"', dualStack);
  const image = /^\s*image: (\S+)$/m.exec(manifest)?.[1] ?? "";
  packageImage({ name: image, output: imageFile, isQuick: true });
  cluster = await KubernetesCluster.start({ families: "dual", images: [imageFile] });
  await rm(imageFile);
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

/** The agent's pod on a node, which has been restarted that often. */
async function agentOn(node: number) {
  const path = "/api/v1/namespaces/kube-flannel/pods?labelSelector=app%3Dflannel";
  const { items } = await cluster.api.client.get<{ items: readonly AgentPod[] }>(path);
  return items.find(({ spec, metadata }) => spec.nodeName === `h${node}` && metadata.deletionTimestamp === undefined);
}

interface AgentPod {
  readonly metadata: { readonly name: string; readonly uid: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly nodeName?: string };
  readonly status: { readonly containerStatuses?: readonly { ready: boolean; restartCount: number }[] };
}

function restartsOf(pod: AgentPod | undefined): number {
  return pod?.status.containerStatuses?.[0]?.restartCount ?? 0;
}

async function untilAgentReady(node: number, isNew: (pod: AgentPod) => boolean = () => true): Promise<AgentPod> {
  const look = async () => {
    const pod = await agentOn(node);
    if (pod !== undefined && pod.status.containerStatuses?.[0]?.ready === true && isNew(pod)) return pod;
    throw new Error(JSON.stringify(pod?.status));
  };
  return await until(look, { what: `the agent on h${node} to be ready` }).catch(explain);
}

async function explain(error: unknown): Promise<never> {
  const logs = await cluster.api.tryKubectl([
    "logs",
    "-n",
    "kube-flannel",
    "-l",
    "app=flannel",
    "--tail=60",
    "--prefix",
  ]);
  console.log(logs.stdout, logs.stderr);
  return cluster.explain(error);
}

test("nodes are Ready after our manifest is applied as a user would, and not before", async () => {
  const before = await cluster.api.node("h1");
  expect(before.status?.conditions?.find(({ type }) => type === "Ready")?.status).toBe("False");
  await cluster.apply(manifest);
  for (const node of [1, 2]) {
    await untilAgentReady(node);
    await cluster.untilNode(node).catch(explain);
  }
  pods = await Promise.all([
    cluster.startPod(1, "a", {
      labels: { app: "web" },
      container: { ports: [{ containerPort: 8080, hostPort: 18080 }] },
    }),
    cluster.startPod(2, "b", { labels: { app: "web" } }),
    cluster.startPod(1, "c"),
  ]);
});

test("all pairs of pods ping, in both families, and talk TCP and UDP", async () => {
  await untilAllPing(pods);
  const [a, b] = pods;
  await using _echo = await UdpEcho.start(b.namespace, 7007);
  for (const address of [b.ipv4, b.ipv6]) {
    expect(await httpName(a.namespace, address ?? "")).toBe("b");
    expect(await udpAnswers(a.namespace, address ?? "", 7007)).toBe(true);
  }
});

test("the MTU of pods is what the way carries", async () => {
  const [a, b] = pods;
  const [link] = await a.namespace.ipJson("link", "show", "dev", "eth0");
  const mtuBytes = Number(link?.["mtu"]);
  expect(mtuBytes).toBeGreaterThan(1400);
  expect(await ping(a.namespace, b.ipv4 ?? "", { payloadBytes: mtuBytes - 28 })).toBeDefined();
  // An IPv6 header more outside: the node says so to who sends more, and then it passes.
  expect(await ping(a.namespace, b.ipv6 ?? "", { payloadBytes: mtuBytes - 20 - 48 })).toBeDefined();
  expect(await ping(a.namespace, b.ipv6 ?? "", { payloadBytes: mtuBytes - 48 })).toBeUndefined();
  expect((await a.namespace.run(["ip", "-6", "route", "get", b.ipv6 ?? ""])).trim()).toContain(`mtu ${mtuBytes - 20}`);
});

test("services: ClusterIP, NodePort, hostPort, a pod's own service, and the API", async () => {
  const [a, b, c] = pods;
  const service = await cluster.api.client.post<{
    spec: { clusterIPs: readonly string[]; ports: { nodePort: number }[] };
  }>("/api/v1/namespaces/default/services", {
    metadata: { name: "web" },
    spec: {
      type: "NodePort",
      ipFamilyPolicy: "RequireDualStack",
      selector: { app: "web" },
      ports: [{ port: 80, targetPort: 8080 }],
    },
  });
  const { clusterIPs, ports } = service.spec;
  const nodePort = ports[0]?.nodePort ?? 0;
  for (const address of clusterIPs) {
    // From a pod that is behind it itself, it must come back to it, too.
    const answered = new Set<string | undefined>();
    const look = async () => {
      answered.add(await httpName(a.namespace, address, 80));
      return answered.has("a") && answered.has("b");
    };
    await until(look, { what: `both pods to answer at ${address}` }).catch(explain);
    expect(await httpName(c.namespace, address, 80)).toMatch(/^[ab]$/);
  }
  for (const address of ["192.168.50.11", "192.168.50.12", "fd00:50::11", "fd00:50::12"]) {
    await until(async () => (await httpName(boxNamespace, address, nodePort)) !== undefined, {
      what: `${address}:${nodePort}`,
    });
  }
  expect(await httpName(boxNamespace, "192.168.50.11", 18080)).toBe("a");
  expect(await httpName(b.namespace, "192.168.50.11", 18080)).toBe("a");
  const api = await b.namespace.tryRun(["socat", "-u", "/dev/null", "OPENSSL:10.96.0.1:443,verify=0"]);
  expect(api).toMatchObject({ exitCode: 0 });
});

test("what leaves the cluster has the node's address, what stays in it the pod's", async () => {
  const [a, b] = pods;
  const connect = (address: string, port: number) => () =>
    a.namespace.tryRun(["socat", "-u", "/dev/null", `TCP:${address}:${port}`]);
  expect(await peerSeenBy(boxNamespace, 7101, connect("192.168.50.1", 7101))).toBe("192.168.50.11");
  expect(await peerSeenBy(boxNamespace, 7102, connect("[fd00:50::1]", 7102))).toBe("fd00:50::11");
  expect(await peerSeenBy(b.namespace, 7103, connect(b.ipv4 ?? "", 7103))).toBe(a.ipv4);
  expect(await peerSeenBy(b.namespace, 7104, connect(`[${b.ipv6}]`, 7104))).toBe(a.ipv6);
});

test("no packet is lost while the agent is deleted, killed, rolled out, and its API server away", async () => {
  const [a, b] = pods;
  await using ipv4 = await ContinuousPing.start(a.namespace, b.ipv4 ?? "");
  await using ipv6 = await ContinuousPing.start(b.namespace, a.ipv6 ?? "");
  const deleted = await agentOn(1);
  await cluster.api.client.delete(`/api/v1/namespaces/kube-flannel/pods/${deleted?.metadata.name}`);
  await untilAgentReady(1, ({ metadata }) => metadata.uid !== deleted?.metadata.uid);
  await cluster.node(2).kill("flanneld");
  await untilAgentReady(2, (pod) => restartsOf(pod) === 1);
  await cluster.api.kubectl(["rollout", "restart", "-n", "kube-flannel", "daemonset/kube-flannel-ds"]);
  await cluster.api.kubectl(["rollout", "status", "-n", "kube-flannel", "daemonset/kube-flannel-ds", "--timeout=60s"]);
  await cluster.api.server.stop();
  await cluster.node(1).kill("flanneld");
  await ipv4.more(300);
  await cluster.api.restart();
  await untilAgentReady(1);
  await ipv4.more(100);
  for (const report of [await ipv4.stop(), await ipv6.stop()]) expect(report).toMatchObject({ lost: [] });
});

test("a node is rebooted: others lose nothing, its pods answer when its agent is ready", async () => {
  const [a, , c] = pods;
  await using others = await ContinuousPing.start(a.namespace, c.ipv4 ?? "");
  const before = restartsOf(await agentOn(2));
  await cluster.rebootNode(2);
  // As a machine does that boots: it tells the LAN where its addresses are now.
  const { namespace } = cluster.node(2).host;
  for (const address of ["192.168.50.11", "fd00:50::11"]) await ping(namespace, address);
  await untilAgentReady(2, (pod) => restartsOf(pod) > before);
  const back = await cluster.startPod(2, "back");
  for (const address of [back.ipv4, back.ipv6]) {
    expect(await httpName(a.namespace, address ?? "")).toBe("back");
  }
  expect(await others.stop()).toMatchObject({ lost: [] });
});
