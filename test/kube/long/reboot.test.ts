// A node of three is rebooted, whole: its namespaces are thrown away and made anew, its disk stays. The others lose nothing, its
// pods answer when its agent is ready, and nothing is left of the pods that it had.
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KubernetesCluster, type KubernetesPod } from "../../../lab/kubernetes/cluster.ts";
import { FlannelPods, restartsOf } from "../../../lab/kubernetes/flannel-pods.ts";
import { httpName } from "../../../lab/kubernetes/talk.ts";
import { ContinuousPing, ping, untilAllPing } from "../../../lab/probe.ts";
import { until } from "../../../lab/wait.ts";
import { containerTraces } from "../../support/container-traces.ts";
import { packageFlannelImage } from "../../support/flannel-image.ts";

const imageFile = "/run/flannel-image.tar";
const netConf = {
  ...{ Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:244::/56", EnableNFTables: false },
  Backend: { Type: "vxlan" },
};
const rounds = 2;

let cluster: KubernetesCluster;
let agents: FlannelPods;
let others: readonly [KubernetesPod, KubernetesPod];

beforeAll(async () => {
  const manifest = packageFlannelImage(imageFile, netConf);
  cluster = await KubernetesCluster.start({ families: "dual", nodes: 3, images: [imageFile] });
  await rm(imageFile);
  agents = new FlannelPods(cluster);
  await cluster.apply(manifest);
  for (const node of [1, 2, 3]) {
    await agents.untilReady(node);
    await cluster.untilNode(node).catch((error: unknown) => agents.explain(error));
  }
  others = await Promise.all([cluster.startPod(1, "a"), cluster.startPod(3, "c")]);
  await untilAllPing(others);
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

const names = ["b0", "b1", "b2", "b3", "b4"];

test("the others lose nothing, and its pods answer when its agent is ready", async () => {
  const [a, c] = others;
  for (let round = 0; round < rounds; round++) {
    await Promise.all(names.map((name) => cluster.startPod(2, name)));
    await using ipv4 = await ContinuousPing.start(a.namespace, c.ipv4 ?? "");
    await using ipv6 = await ContinuousPing.start(c.namespace, a.ipv6 ?? "");
    const restarts = restartsOf(await agents.on(2));
    await cluster.rebootNode(2);
    // As a machine does that boots: it tells the LAN where its addresses are now.
    const { namespace } = cluster.node(2).host;
    for (const address of ["192.168.50.11", "fd00:50::11"]) await ping(namespace, address);
    await agents.untilReady(2, (pod) => restartsOf(pod) > restarts);
    const back = await cluster.startPod(2, "back");
    for (const from of others) {
      for (const address of [back.ipv4, back.ipv6]) expect(await httpName(from.namespace, address ?? "")).toBe("back");
    }
    for (const report of [await ipv4.stop(), await ipv6.stop()]) expect(report).toMatchObject({ lost: [] });
    await expectOnlyLivingPods();
    for (const name of [...names, "back"]) await cluster.api.client.delete(`/api/v1/namespaces/default/pods/${name}`);
    await untilAddresses([]);
  }
});

/** The kubelet starts the pods of before anew: each has two addresses, and nobody else has one. */
async function expectOnlyLivingPods(): Promise<void> {
  const addressesOf = async (name: string) => {
    const path = `/api/v1/namespaces/default/pods/${name}`;
    const { status } = await cluster.api.client.get<{
      status: { podIPs?: readonly { ip: string }[]; conditions: readonly { type: string; status: string }[] };
    }>(path);
    const isReady = status.conditions.some((one) => one.type === "Ready" && one.status === "True");
    return isReady ? (status.podIPs ?? []).map(({ ip }) => ip) : [];
  };
  const living = async () => {
    const found = (await Promise.all([...names, "back"].map(addressesOf))).flat();
    return found.length === 2 * (names.length + 1) ? found : undefined;
  };
  await untilAddresses(
    await until(living, { what: "the pods of before to run" }).catch((error: unknown) => agents.explain(error)),
  );
}

async function untilAddresses(expected: readonly string[]): Promise<void> {
  const look = async () => {
    const { addresses, interfaces } = await containerTraces(cluster.node(2));
    expect([...addresses].sort()).toEqual([...expected].sort());
    expect(interfaces).toHaveLength(expected.length / 2);
    return true;
  };
  await until(look, { what: "the addresses of living pods alone" }).catch((error: unknown) => agents.explain(error));
}
