// A whole cluster whose store is flannel-store: kubelets, DaemonSet and pods as on an etcd, the store killed under them, and
// five thousand objects in it.
import { readFile, rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EmbeddedStore } from "../../../lab/embedded-store.ts";
import { KubernetesCluster } from "../../../lab/kubernetes/cluster.ts";
import { ContinuousPing, untilAllPing } from "../../../lab/probe.ts";
import { until } from "../../../lab/wait.ts";
import { packageImage } from "../../../packaging/image/image.ts";

const imageFile = "/run/flannel-image.tar";
const configMaps = "/api/v1/namespaces/many/configmaps";
const OBJECTS = 5_000;
const AT_ONCE = 8;

let store: EmbeddedStore;
let cluster: KubernetesCluster;

beforeAll(async () => {
  store = await EmbeddedStore.start("127.0.0.1");
  const manifest = await readFile("deploy/kubernetes/kube-flannel.yml", "utf8");
  packageImage({ name: /^\s*image: (\S+)$/m.exec(manifest)?.[1] ?? "", output: imageFile, isQuick: true });
  cluster = await KubernetesCluster.start({ storeEndpoints: store.endpoints, images: [imageFile] });
  await rm(imageFile);
  await cluster.apply(manifest);
});

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await store?.[Symbol.asyncDispose]();
});

test("nodes get Ready, pods run and ping each other, and lose nothing while the store is killed", async () => {
  for (const node of [1, 2]) await cluster.untilNode(node).catch((error: unknown) => cluster.explain(error));
  const [a, b] = await Promise.all([cluster.startPod(1, "a"), cluster.startPod(2, "b")]);
  await untilAllPing([a, b]);
  await using pings = await ContinuousPing.start(a.namespace, b.ipv4 ?? "");
  await store.restart();
  const c = await cluster.startPod(2, "c");
  await untilAllPing([a, c]);
  expect(await pings.stop()).toMatchObject({ lost: [] });
});

test("five thousand objects are written, listed in pages and deleted together, and the cluster goes on", async () => {
  const { client } = cluster.api;
  await client.post("/api/v1/namespaces", { metadata: { name: "many" } });
  let number = 0;
  const write = async () => {
    while (number < OBJECTS) {
      await client.post(configMaps, { metadata: { name: `object-${number++}` }, data: { text: "x".repeat(1_000) } });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, write));
  expect(await countInPages()).toBeGreaterThanOrEqual(OBJECTS);
  expect((await store.memory()).residentBytes).toBeLessThan(250e6);
  await client.delete(`${configMaps}?gracePeriodSeconds=0`);
  // The controller manager gives each namespace one of its own.
  await until(async () => (await countInPages()) <= 1, { what: "the objects to be gone" });
  await cluster.deletePod(await cluster.startPod(1, "after"));
});

async function countInPages(): Promise<number> {
  let count = 0;
  let next: string | undefined = "";
  while (next !== undefined) {
    const page: List = await cluster.api.client.get<List>(
      `${configMaps}?limit=500&continue=${encodeURIComponent(next)}`,
    );
    count += page.items.length;
    next = page.metadata.continue;
  }
  return count;
}

interface List {
  readonly metadata: { readonly continue?: string };
  readonly items: readonly unknown[];
}
