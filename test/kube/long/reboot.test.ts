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
let manifest: string;
let others: readonly [KubernetesPod, KubernetesPod];

beforeAll(async () => {
  manifest = packageFlannelImage(imageFile, netConf);
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

const conflist = "/etc/cni/net.d/10-flannel.conflist";
const bootFile = "/etc/tmpfiles.d/flannel-cni.conf";

test("a rebooted Node is not Ready before its agent says so", async () => {
  const node = cluster.node(2);
  expect(await node.run(["cat", bootFile])).toContain(`r! ${conflist}\n`);
  await rebootWithoutAgent(async () => {
    expect((await node.tryRun(["ls", conflist])).exitCode).not.toBe(0);
  });
});

test("the same where the configuration is a link into /run", async () => {
  const node = cluster.node(2);
  const target = "/run/flannel/10-flannel.conflist";
  const asLink = manifest.replace(/--cni-boot-file=.*/, `--cni-conf-target=${target}`);
  expect(asLink).not.toBe(manifest);
  await agents.rollOut(asLink);
  await agents.untilReady(2);
  const isLink = async () => (await node.tryRun(["readlink", conflist])).stdout.trim() === target;
  await until(isLink, { what: "the link" }).catch((error: unknown) => agents.explain(error));
  expect((await node.tryRun(["ls", bootFile])).exitCode).not.toBe(0);
  await rebootWithoutAgent(async () => {
    expect(await isLink()).toBe(true);
    expect((await node.tryRun(["cat", conflist])).exitCode).not.toBe(0);
  });
});

/** `look`: while the Node is up, and its agent is not. */
async function rebootWithoutAgent(look: () => Promise<void>): Promise<void> {
  const node = cluster.node(2);
  const ctr = (...words: readonly string[]) => node.run(["ctr", "-n", "k8s.io", "images", ...words]);
  // The agent cannot start for want of its image.
  const [image = ""] = (await ctr("ls", "-q")).split("\n").filter((name) => /(^|\/)flannel:/.test(name));
  await ctr("tag", image, "lab.local/kept:1");
  await ctr("rm", image);
  const bootedAtMs = Date.now();
  await cluster.rebootNode(2);
  const untilReported = async (what: string) => {
    const reported = async () => {
      const { status } = await cluster.api.node("h2");
      const ready = status?.conditions?.find(({ type }) => type === "Ready");
      const isNew = Date.parse(ready?.lastHeartbeatTime ?? "") > bootedAtMs;
      return isNew && ready?.message?.includes(what) === true ? ready : undefined;
    };
    return await until(reported, { what }).catch((error: unknown) => agents.explain(error));
  };
  expect(await untilReported("cni plugin not initialized")).toMatchObject({ status: "False" });
  await look();
  await ctr("tag", "lab.local/kept:1", image);
  await ctr("rm", "lab.local/kept:1");
  expect(await untilReported("posting ready status")).toMatchObject({ status: "True" });
  await agents.untilReady(2);
  const inode = () => node.run(["stat", "-c", "%i %Y", conflist]);
  const before = await inode();
  await agents.restart();
  expect(await inode()).toBe(before);
}

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
