// The backend of a living cluster changes between vxlan, host-gw and wireguard, each a ConfigMap and a roll-out of all nodes at
// once, as docs/kubernetes.md advises. wireguard-go is a service of the nodes, since the kernel may have no WireGuard.
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { KubernetesCluster, type KubernetesPod } from "../../../lab/kubernetes/cluster.ts";
import { FlannelPods } from "../../../lab/kubernetes/flannel-pods.ts";
import { serveWireguard, withWireguardSockets } from "../../../lab/kubernetes/wireguard-nodes.ts";
import { ContinuousPing, untilAllPing } from "../../../lab/probe.ts";
import { packageFlannelImage } from "../../support/flannel-image.ts";

const imageFile = "/run/flannel-image.tar";
const vxlan = { Type: "vxlan" };
const wireguard = { Type: "wireguard" };
/** Some ten times what was measured on a busy machine. */
const CUT_OFF_AT_MOST_MS = 100_000;

let cluster: KubernetesCluster;
let agents: FlannelPods;
let manifest: string;
let pods: readonly [KubernetesPod, KubernetesPod];

beforeAll(async () => {
  const networks = { Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:244::/56" };
  const packaged = packageFlannelImage(imageFile, { ...networks, Backend: vxlan });
  manifest = withWireguardSockets(packaged).replace("maxUnavailable: 1", "maxUnavailable: 100%");
  cluster = await KubernetesCluster.start({ families: "dual", images: [imageFile] });
  await rm(imageFile);
  await serveWireguard(cluster, ["flannel-wg", "flannel-wg-v6"]);
  agents = new FlannelPods(cluster);
  await agents.rollOut(manifest);
  for (const node of [1, 2]) await cluster.untilNode(node).catch((error: unknown) => agents.explain(error));
  pods = [await cluster.startPod(1, "p1"), await cluster.startPod(2, "p2")];
  await untilAllPing(pods);
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

async function rollOutUnderPings(act: () => Promise<void>): Promise<{ lost: number; silentMs: number }> {
  const [a, b] = pods;
  await using ipv4 = await ContinuousPing.start(a.namespace, b.ipv4 ?? "");
  await using ipv6 = await ContinuousPing.start(b.namespace, a.ipv6 ?? "");
  await act();
  await untilAllPing(pods).catch((error: unknown) => agents.explain(error));
  await ipv4.more(50);
  await ipv6.more(50);
  const reports = [await ipv4.stop(), await ipv6.stop()];
  return {
    lost: Math.max(...reports.map(({ lost }) => lost.length)),
    silentMs: Math.max(...reports.map(({ longestSilenceMs }) => longestSilenceMs)),
  };
}

async function applyBackend(backend: { readonly Type: string }): Promise<void> {
  await cluster.apply(manifest.replace(JSON.stringify(vxlan), JSON.stringify(backend)));
  await agents.restart();
}

it.each([wireguard, { Type: "host-gw" }, wireguard, vxlan])("to %j", async (backend) => {
  const { silentMs } = await rollOutUnderPings(() => applyBackend(backend));
  expect(silentMs).toBeLessThan(CUT_OFF_AT_MOST_MS);
  for (const node of [1, 2]) {
    const { annotations } = (await cluster.api.node(`h${node}`)).metadata;
    expect(annotations?.["flannel.alpha.coreos.com/backend-type"]).toBe(backend.Type);
    expect(await agents.ctl(node, "status")).toContain("ready");
  }
});

it("loses no packet with wireguard when all agents are replaced", async () => {
  await applyBackend(wireguard);
  await untilAllPing(pods);
  expect(await rollOutUnderPings(() => agents.restart())).toMatchObject({ lost: 0 });
  expect(await agents.ctl(1, "status")).toContain("wireguard-go");
});
