// The Kubernetes API server of the lab is a real one: RBAC, the Node authorizer, tokens, podCIDRs by the controller
// manager, watches that a restart cuts.
import { afterAll, beforeAll, expect, test } from "vitest";
import { flannelRules, KubernetesApi, type ServiceAccount } from "../../lab/kubernetes/api-server.ts";
import { until } from "../../lab/wait.ts";
import { annotationNames } from "../../src/config/annotation-prefix.ts";
import { ApiClient } from "../../src/kube-api/api-client.ts";
import { openAccess } from "../../src/kube-api/open-access.ts";
import { usualWatchTimings } from "../../src/kube-api/watch-objects.ts";
import { followNodes } from "../../src/store/kubernetes/follow-nodes.ts";
import { NodeApi } from "../../src/store/kubernetes/node-api.ts";
import { isWhole } from "../../src/store/kubernetes/node-record.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";

let api: KubernetesApi;
let flannel: ServiceAccount;

beforeAll(async () => {
  api = await KubernetesApi.start({ families: "dual" });
  flannel = await api.createServiceAccount("kube-flannel", "flannel", flannelRules);
});

afterAll(() => api[Symbol.asyncDispose]());

function as(kubeconfig: string, ...words: readonly string[]) {
  return api.tryKubectl([`--kubeconfig=${kubeconfig}`, ...words]);
}

test("the controller manager gives a node a podCIDR of each family", async () => {
  await api.createNode("waiting");
  await api.startControllerManager();
  const podCidrs = await until(async () => (await api.node("waiting")).spec.podCIDRs, { what: "podCIDRs" });
  expect(podCidrs).toEqual(["10.244.0.0/24", "fd00:244::/64"]);
});

test("an account may do what its role grants, and no more", async () => {
  await api.createNode("n1", { podCidrs: ["10.244.1.0/24"] });
  const kubeconfig = await api.kubeconfigOfAccount(flannel);
  expect(await as(kubeconfig, "auth", "can-i", "patch", "nodes", "--subresource=status")).toMatchObject({
    exitCode: 0,
  });
  expect(await as(kubeconfig, "get", "node", "n1")).toMatchObject({ exitCode: 0 });
  const mayNotDelete = await as(kubeconfig, "delete", "node", "n1");
  expect(mayNotDelete.stderr).toContain('User "system:serviceaccount:kube-flannel:flannel" cannot delete resource');
  await api.grant(flannel, []);
  await until(async () => (await as(kubeconfig, "get", "nodes")).stderr.includes("cannot list resource"), {
    what: "the right to be gone",
  });
  await api.grant(flannel, flannelRules);
});

test("a token that has expired is refused", async () => {
  const expired = await api.kubeconfigOf({ token: await api.token(flannel, -120) });
  expect((await as(expired, "get", "nodes")).stderr).toMatch(/Unauthorized|must be logged in/);
});

test("a node may change itself only", async () => {
  const kubelet = await api.kubeconfigOfUser("system:node:n1", ["system:nodes"]);
  const annotate = (name: string) => as(kubelet, "annotate", "node", name, "by=kubelet", "--overwrite");
  expect(await annotate("n1")).toMatchObject({ exitCode: 0 });
  expect((await annotate("waiting")).stderr).toContain("node 'n1' cannot read 'waiting', only its own");
});

test("with upstream's rights a watch sends metadata alone, and podCIDRs are asked for once in a Node's life", async () => {
  const kubeconfigFile = await api.kubeconfigOfAccount(flannel);
  const access = await openAccess({ kubeconfigFile }, {});
  await using client = new ApiClient(access, {}, "test");
  const nodes = new NodeApi(client, annotationNames("flannel.alpha.coreos.com"));
  const [told, kinds, questions] = [new Map<string, string>(), new Set<string>(), [] as string[]];
  const watched = nodes.metadataTarget();
  nodes.metadataTarget = () => ({
    ...watched,
    read: (object) => {
      const node = watched.read(object);
      if (node !== undefined) kinds.add(`${node.name} ${isWhole(node) ? "whole" : "metadata"}`);
      return node;
    },
  });
  const select = nodes.select.bind(nodes);
  let mayAsk: Promise<void> | undefined;
  nodes.select = async (selector, ...rest) => {
    questions.push(Object.values(selector).join());
    await mayAsk;
    return await select(selector, ...rest);
  };
  const stop = new AbortController();
  const take: Parameters<typeof followNodes>[0]["take"] = (news) => {
    if (news.type === "list") for (const { name, podCidrs } of news.objects) told.set(name, podCidrs.join());
    else if (news.type === "put") told.set(news.object.name, news.object.podCidrs.join());
    else if (news.type === "delete") told.delete(news.object.name);
  };
  const room = () => Promise.resolve();
  const follower = { api: nodes, ownName: "none", timings: usualWatchTimings, logger: silentLogger, take, room };
  const followed = followNodes(follower, stop.signal);
  const is = (name: string, podCidrs: string) =>
    until(() => told.get(name) === podCidrs, { what: `${name} with ${podCidrs}` });
  await is("n1", "10.244.1.0/24");
  const annotations = { "flannel.alpha.coreos.com/kube-subnet-manager": "true" };
  await api.createNode("m1", { podCidrs: ["10.244.101.0/24"], annotations });
  await is("m1", "10.244.101.0/24");
  for (const step of ["1", "2", "3"]) await api.annotateNode("m1", { step });
  await api.deleteNode("m1");
  await api.createNode("m1", { podCidrs: ["10.244.102.0/24"], annotations });
  await is("m1", "10.244.102.0/24");
  expect(questions).toEqual(["metadata.name=m1", "metadata.name=m1"]);
  // The first question waits until all the others have joined, however fast or slow they do.
  const gate = Promise.withResolvers<void>();
  mayAsk = gate.promise;
  const many = Array.from({ length: 40 }, (_, index) => index + 110);
  await Promise.all(
    many.map((number) => {
      const labels = { "kubernetes.io/hostname": `host-${number}` };
      return api.createNode(`m${number}`, { podCidrs: [`10.244.${number}.0/24`], annotations, labels });
    }),
  );
  await until(() => many.every((number) => kinds.has(`m${number} metadata`)), { what: "the events of all" });
  gate.resolve();
  for (const number of many) await is(`m${number}`, `10.244.${number}.0/24`);
  // For who joined first, and for all the others; and once again where the answer was older than an event.
  const ofMany = questions.slice(2);
  expect([2, 3], ofMany.join("\n")).toContain(ofMany.length);
  expect(ofMany.at(1)).toMatch(/^kubernetes\.io\/hostname in \(host-/);
  expect([...kinds].filter((kind) => kind.startsWith("m")).every((kind) => kind.endsWith("metadata"))).toBe(true);
  stop.abort();
  await followed;
  for (const number of [1, ...many]) await api.deleteNode(`m${number}`);
});

test("a node's podCIDR is never another one", async () => {
  const spec = { podCIDR: "10.244.77.0/24", podCIDRs: ["10.244.77.0/24"] };
  await expect(api.client.patch("/api/v1/nodes/n1", { spec }, "merge")).rejects.toThrow("may not change podCIDR");
});

test("after a restart the server no longer knows the changes before", async () => {
  const { metadata } = await api.annotateNode("n1", { step: "1" });
  await api.annotateNode("n1", { step: "2" });
  await api.restart();
  await api.annotateNode("n1", { step: null });
  const watch = `/api/v1/nodes?watch=1&timeoutSeconds=1&resourceVersion=${Number(metadata.resourceVersion) - 1}`;
  expect(await api.client.text("GET", watch)).toContain('"code":410');
});
