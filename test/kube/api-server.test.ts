// The Kubernetes API server of the lab is a real one: RBAC, the Node authorizer, tokens, podCIDRs by the controller
// manager, watches that a restart cuts.
import { afterAll, beforeAll, expect, test } from "vitest";
import { flannelRules, KubernetesApi, type ServiceAccount } from "../../lab/kubernetes/api-server.ts";
import { until } from "../../lab/wait.ts";

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

test("after a restart the server no longer knows the changes before", async () => {
  const { metadata } = await api.annotateNode("n1", { step: "1" });
  await api.annotateNode("n1", { step: "2" });
  await api.restart();
  await api.annotateNode("n1", { step: null });
  const watch = `/api/v1/nodes?watch=1&timeoutSeconds=1&resourceVersion=${Number(metadata.resourceVersion) - 1}`;
  expect(await api.client.text("GET", watch)).toContain('"code":410');
});
