// The backend of a living cluster changes as docs/kubernetes.md says: vxlan, DirectRouting, host-gw and back, each a ConfigMap
// and a roll-out. What test/lab/change-backend.test.ts shows on etcd, here with kubelets: no packet is lost.
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { KubernetesCluster, type KubernetesPod } from "../../../lab/kubernetes/cluster.ts";
import { FlannelPods } from "../../../lab/kubernetes/flannel-pods.ts";
import { ContinuousPing, untilAllPing } from "../../../lab/probe.ts";
import { packageFlannelImage } from "../../support/flannel-image.ts";

const imageFile = "/run/flannel-image.tar";
const vxlan = { Type: "vxlan" };

let cluster: KubernetesCluster;
let agents: FlannelPods;
let manifest: string;
let pods: readonly KubernetesPod[];

beforeAll(async () => {
  const networks = { Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:244::/56" };
  manifest = packageFlannelImage(imageFile, { ...networks, Backend: vxlan });
  cluster = await KubernetesCluster.start({ families: "dual", images: [imageFile] });
  await rm(imageFile);
  agents = new FlannelPods(cluster);
  await agents.rollOut(manifest);
  for (const node of [1, 2]) await cluster.untilNode(node).catch((error: unknown) => agents.explain(error));
  pods = await Promise.all([1, 2].map((node) => cluster.startPod(node, `p${node}`)));
  await untilAllPing(pods);
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

it.each([{ Type: "vxlan", DirectRouting: true }, { Type: "host-gw" }, { Type: "vxlan", DirectRouting: true }, vxlan])(
  "to %j",
  async (backend) => {
    const [a, b] = pods;
    if (a === undefined || b === undefined) throw new Error("there are two pods");
    await using ipv4 = await ContinuousPing.start(a.namespace, b.ipv4 ?? "");
    await using ipv6 = await ContinuousPing.start(b.namespace, a.ipv6 ?? "");
    await cluster.apply(manifest.replace(JSON.stringify(vxlan), JSON.stringify(backend)));
    await agents.restart();
    await ipv4.more(100);
    for (const report of [await ipv4.stop(), await ipv6.stop()]) expect(report).toMatchObject({ lost: [] });
    const { annotations } = (await cluster.api.node("h1")).metadata;
    expect(annotations?.["flannel.alpha.coreos.com/backend-type"]).toBe(backend.Type);
    expect(await agents.ctl(1, "status")).toContain("ready");
  },
);
