// The life of an installation on two real nodes, as its operator has it: a kustomize overlay, the Helm chart over it, an
// upgrade, the clean-up that takes flannel off the nodes, and everything once more with kubectl alone.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../../../lab/command.ts";
import { chart, checkout, helmCommand, overlays, valuesOf } from "../../../lab/kubernetes/chart.ts";
import { KubernetesCluster, type KubernetesPod } from "../../../lab/kubernetes/cluster.ts";
import type { KubernetesNode } from "../../../lab/kubernetes/node.ts";
import { ContinuousPing, untilAllPing } from "../../../lab/probe.ts";
import { until } from "../../../lab/wait.ts";
import { packageImage } from "../../../packaging/image/image.ts";
import { version } from "../../../src/version.ts";

const imageFile = "/run/flannel-image.tar";
const namespace = "--namespace=kube-flannel";
const values = `--values=${valuesOf("dual-stack")}`;
/** Helm's own deadline, for a machine with other work. */
const patience = ["--wait", "--timeout=10m"];

const helmTimeoutMs = 660_000;

let cluster: KubernetesCluster;
let untouched: readonly HostView[];

/** What flannel changes on a node. */
interface HostView {
  readonly links: readonly string[];
  readonly routes: readonly string[];
  readonly rules: readonly string[];
  readonly files: readonly string[];
  readonly annotations: readonly string[];
  readonly conditions: readonly string[];
}

beforeAll(async () => {
  packageImage({ name: `flannel:${version}`, output: imageFile, isQuick: true });
  cluster = await KubernetesCluster.start({ families: "dual", images: [imageFile] });
  await rm(imageFile);
  untouched = await views();
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

function views(): Promise<readonly HostView[]> {
  return Promise.all(cluster.nodes.map(viewOf));
}

async function viewOf(node: KubernetesNode): Promise<HostView> {
  const lines = async (...argv: readonly string[]) => (await node.run(argv)).split("\n").filter((line) => line !== "");
  const ruleTexts = await Promise.all(["iptables-save", "ip6tables-save"].map((program) => lines(program)));
  const { metadata, status } = await cluster.api.node(node.name);
  return {
    links: (await lines("ip", "-br", "link")).map((line) => line.split(/[ @]/)[0] ?? "").sort(),
    routes: [...(await lines("ip", "route", "show", "table", "all")), ...(await lines("ip", "-6", "route", "show"))]
      .map((line) => line.trim())
      .filter((line) => !line.startsWith("fe80"))
      .sort(),
    rules: ruleTexts.flat().filter((line) => /flannel/i.test(line)),
    files: await lines(
      "sh",
      "-c",
      "find /etc/cni/net.d /etc/tmpfiles.d /run/flannel /var/lib/flannel -type f 2>/dev/null || true",
    ),
    annotations: Object.keys(metadata.annotations ?? {}).filter((key) => key.includes("flannel")),
    conditions: (status?.conditions ?? []).map(({ type }) => type).filter((type) => type === "NetworkUnavailable"),
  };
}

function helm(...args: readonly string[]): Promise<string> {
  const argv = helmCommand([...args, namespace, `--kubeconfig=${cluster.api.adminKubeconfig}`]);
  return run(argv, { timeoutMs: helmTimeoutMs }).catch((error: unknown) => cluster.explain(error));
}

async function rolledOut(daemonSet: string): Promise<void> {
  const words = ["rollout", "status", "-n", "kube-flannel", `daemonset/${daemonSet}`];
  await cluster.api.kubectl(words).catch((error: unknown) => cluster.explain(error));
}

async function startPods(): Promise<readonly [KubernetesPod, KubernetesPod]> {
  for (const node of [1, 2]) await cluster.untilNode(node);
  const pods = await Promise.all([cluster.startPod(1, "a"), cluster.startPod(2, "b")]);
  await untilAllPing(pods);
  return pods;
}

async function deletePods(pods: readonly KubernetesPod[]): Promise<void> {
  for (const pod of pods) await cluster.deletePod(pod);
}

async function revision(): Promise<number> {
  const [release] = JSON.parse(await helm("list", "--output=json")) as { revision: string }[];
  return Number(release?.revision);
}

interface AgentPod {
  readonly spec: { readonly containers: readonly { readonly readinessProbe: { readonly periodSeconds: number } }[] };
  readonly status: {
    readonly conditions: readonly {
      readonly type: string;
      readonly status: string;
      readonly lastTransitionTime: string;
    }[];
    readonly containerStatuses: readonly { readonly state: { readonly running?: { readonly startedAt: string } } }[];
  };
}

/** From the start of each agent's container until its pod is Ready, in periods of its readiness probe. */
async function readinessPeriods(): Promise<readonly number[]> {
  const argv = ["get", "pods", "-n", "kube-flannel", "-l", "app=flannel", "-o", "json"];
  const { items } = JSON.parse(await cluster.api.kubectl(argv)) as { readonly items: readonly AgentPod[] };
  return items.map(({ spec, status }) => {
    const ready = status.conditions.find((each) => each.type === "Ready" && each.status === "True");
    const started = status.containerStatuses[0]?.state.running?.startedAt ?? "";
    const seconds = (Date.parse(ready?.lastTransitionTime ?? "") - Date.parse(started)) / 1000;
    return seconds / (spec.containers[0]?.readinessProbe.periodSeconds ?? 0);
  });
}

/** A second or two on an idle machine; upstream's takes 15 s for each node of a roll-out. */
async function expectSoonReady(): Promise<void> {
  const periods = await readinessPeriods();
  expect(periods).toHaveLength(2);
  for (const each of periods) expect(each).toBeLessThanOrEqual(10);
}

test("a kustomize overlay is taken over and upgraded by helm, and no packet is lost", async () => {
  await cluster.api.kubectl(["apply", "-k", join(overlays, "dual-stack")]);
  await rolledOut("kube-flannel-ds");
  const pods = await startPods();
  const [a, b] = pods;
  await using ipv4 = await ContinuousPing.start(a.namespace, b.ipv4 ?? "");
  await using ipv6 = await ContinuousPing.start(b.namespace, a.ipv6 ?? "");
  await helm("install", "flannel", chart, values, "--take-ownership", "--force-conflicts", ...patience);
  await helm("upgrade", "flannel", chart, values, "--set=flannel.podLabels.changed=yes", ...patience);
  expect(await revision()).toBe(2);
  const { items } = JSON.parse(
    await cluster.api.kubectl(["get", "pods", "-n", "kube-flannel", "-l", "changed=yes", "-o", "json"]),
  ) as { items: readonly unknown[] };
  expect(items).toHaveLength(2);
  await expectSoonReady();
  for (const report of [await ipv4.stop(), await ipv6.stop()]) expect(report).toMatchObject({ lost: [] });
  await deletePods(pods);
});

test("the clean-up of the chart takes flannel off the nodes, before helm takes it off the cluster", async () => {
  await helm("upgrade", "flannel", chart, "--reuse-values", "--set=cleanup.enabled=true", ...patience);
  expect(await views()).toEqual(untouched);
  await helm("uninstall", "flannel", "--wait");
  const kinds = "daemonsets,configmaps,serviceaccounts,clusterroles,clusterrolebindings";
  const left = await cluster.api.kubectl(["get", kinds, "-n", "kube-flannel", "-o", "name"]);
  expect(left).not.toContain("flannel");
});

test("helm installs it where nothing was, and it is ready within ten readiness periods of its start", async () => {
  await helm("install", "flannel", chart, values, "--create-namespace", ...patience);
  await expectSoonReady();
  const pods = await startPods();
  await deletePods(pods);
  await helm("uninstall", "flannel", "--wait");
});

test("without helm: the clean-up's manifest waits for the agent's end, and then cleans", async () => {
  await cluster.api.kubectl(["apply", "-k", join(overlays, "dual-stack")]);
  await rolledOut("kube-flannel-ds");
  const manifest = join(checkout, "deploy/kubernetes/kube-flannel-cleanup.yml");
  await cluster.api.kubectl(["apply", "-f", manifest]);
  const refusal = ["logs", "-n", "kube-flannel", "-l", "app=flannel-cleanup", "-c", "cleanup"];
  await until(async () => (await cluster.api.tryKubectl(refusal)).stdout.includes("is locked by another agent"), {
    what: "the clean-up to say that an agent runs",
  }).catch((error: unknown) => cluster.explain(error));
  for (const { annotations } of await views()) expect(annotations).not.toEqual([]);
  await cluster.api.kubectl(["delete", "-n", "kube-flannel", "daemonset", "kube-flannel-ds"]);
  await rolledOut("kube-flannel-cleanup");
  expect(await views()).toEqual(untouched);
  await cluster.api.kubectl(["delete", "-f", manifest, "--wait=false"]);
});
