// A cluster of two real nodes with our manifest applied as a user would: pods of both nodes talk in every way that
// Kubernetes has, and go on talking while the agent is deleted, killed, rolled out, and its API server away.
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KubernetesCluster } from "../../lab/kubernetes/cluster.ts";
import { FlannelPods, restartsOf } from "../../lab/kubernetes/flannel-pods.ts";
import { httpName } from "../../lab/kubernetes/talk.ts";
import { ContinuousPing, ping } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { packageFlannelImage } from "../support/flannel-image.ts";
import {
  expectAllTalk,
  expectMasquerading,
  expectMtuFits,
  expectServices,
  startThreePods,
  type ThreePods,
} from "../support/pod-network.ts";

const imageFile = "/run/flannel-image.tar";
const netConf = {
  ...{ Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:244::/56", EnableNFTables: false },
  Backend: { Type: "vxlan" },
};

let cluster: KubernetesCluster;
let agents: FlannelPods;
let manifest: string;
let pods: ThreePods;

beforeAll(async () => {
  manifest = packageFlannelImage(imageFile, netConf);
  cluster = await KubernetesCluster.start({ families: "dual", images: [imageFile] });
  agents = new FlannelPods(cluster);
  await rm(imageFile);
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

test("nodes are Ready after our manifest is applied as a user would, and not before", async () => {
  const before = await cluster.api.node("h1");
  expect(before.status?.conditions?.find(({ type }) => type === "Ready")?.status).toBe("False");
  await cluster.apply(manifest);
  for (const node of [1, 2]) {
    await agents.untilReady(node);
    await cluster.untilNode(node).catch((error: unknown) => agents.explain(error));
  }
  pods = await startThreePods(cluster);
});

test("the agents have the rights that the manifest says, and no others", async () => {
  for (const node of [1, 2]) {
    const pod = await agents.on(node);
    const argv = ["exec", "-n", "kube-flannel", pod?.metadata.name ?? "", "--", "cat", "/proc/1/status"];
    const lines = (await cluster.api.kubectl(argv)).split("\n");
    expect(lines).toContain("Name:\tflanneld");
    expect(lines.filter((line) => /^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):/.test(line))).toEqual([
      // NET_ADMIN is number 12, NET_RAW 13; a filter of seccomp is mode 2.
      ...[
        "Uid:\t0\t0\t0\t0",
        "CapEff:\t0000000000003000",
        "CapBnd:\t0000000000003000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
      ],
    ]);
  }
});

test("all pairs of pods ping, in both families, and talk TCP and UDP", () => expectAllTalk(pods));

// IPv6 has a header of 20 bytes more outside.
test("the MTU of pods is what the way carries", () => expectMtuFits(pods, 20));

test("services: ClusterIP, NodePort, hostPort, a pod's own service, and the API", () =>
  expectServices(cluster, agents, pods));

test("what leaves the cluster has the node's address, what stays in it the pod's", () => expectMasquerading(pods));

test("no packet is lost while the agent is deleted, killed, rolled out, and its API server away", async () => {
  const [a, b] = pods;
  await using ipv4 = await ContinuousPing.start(a.namespace, b.ipv4 ?? "");
  await using ipv6 = await ContinuousPing.start(b.namespace, a.ipv6 ?? "");
  const deleted = await agents.on(1);
  await cluster.api.client.delete(`/api/v1/namespaces/kube-flannel/pods/${deleted?.metadata.name}`);
  await agents.untilReady(1, ({ metadata }) => metadata.uid !== deleted?.metadata.uid);
  await cluster.node(2).kill("flanneld");
  await agents.untilReady(2, (pod) => restartsOf(pod) === 1);
  await agents.restart();
  await cluster.api.server.stop();
  await cluster.node(1).kill("flanneld");
  await ipv4.more(300);
  await cluster.api.restart();
  await agents.untilReady(1);
  await ipv4.more(100);
  for (const report of [await ipv4.stop(), await ipv6.stop()]) expect(report).toMatchObject({ lost: [] });
});

test("a node is rebooted: others lose nothing, its pods answer when its agent is ready", async () => {
  const [a, , c] = pods;
  await using others = await ContinuousPing.start(a.namespace, c.ipv4 ?? "");
  const before = restartsOf(await agents.on(2));
  await cluster.rebootNode(2);
  // As a machine does that boots: it tells the LAN where its addresses are now.
  const { namespace } = cluster.node(2).host;
  for (const address of ["192.168.50.11", "fd00:50::11"]) await ping(namespace, address);
  await agents.untilReady(2, (pod) => restartsOf(pod) > before);
  const back = await cluster.startPod(2, "back");
  expect(await httpName(a.namespace, back.ipv4 ?? "")).toBe("back");
  // The plugin `bridge` makes cni0 with its first pod; its IPv6 address, the pods' gateway, answers after duplicate address detection.
  await until(async () => (await httpName(a.namespace, back.ipv6 ?? "")) === "back", { what: "an answer over IPv6" });
  expect(await others.stop()).toMatchObject({ lost: [] });
});
