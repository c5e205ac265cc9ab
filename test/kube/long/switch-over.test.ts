// A cluster that runs upstream's flannel, the real one, goes over to ours node by node and back, with one `kubectl apply`
// each, while pods talk: nothing is lost to ours, and back no more than when upstream restarts itself. Then from an older manifest,
// and with what docs/kubernetes.md lets people leave out of ours.
import { rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { link } from "../../../lab/kernel-view.ts";
import { KubernetesCluster, type KubernetesPod } from "../../../lab/kubernetes/cluster.ts";
import { FlannelPods, restartsOf } from "../../../lab/kubernetes/flannel-pods.ts";
import { httpName } from "../../../lab/kubernetes/talk.ts";
import {
  olderDaemonSet,
  olderUpstreamManifest,
  packageUpstreamImage,
  upstreamManifest,
} from "../../../lab/kubernetes/upstream-flannel.ts";
import { ContinuousPing, untilAllPing } from "../../../lab/probe.ts";
import { until } from "../../../lab/wait.ts";
import { containerTraces, noTraces } from "../../support/container-traces.ts";
import { packageFlannelImage } from "../../support/flannel-image.ts";

const netConf = {
  ...{ Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:244::/56", EnableNFTables: false },
  Backend: { Type: "vxlan" },
};
const upstream = upstreamManifest(netConf);
const nodes = [1, 2];

let cluster: KubernetesCluster;
let agents: FlannelPods;
let ours: string;
let pods: readonly [KubernetesPod, KubernetesPod];
/** What upstream's own restart loses. */
let lostByUpstream: readonly number[];

beforeAll(async () => {
  const files = ["/run/ours.tar", "/run/upstream.tar"] as const;
  ours = packageFlannelImage(files[0], netConf);
  packageUpstreamImage(files[1]);
  cluster = await KubernetesCluster.start({ families: "dual", images: files });
  for (const file of files) await rm(file);
  agents = new FlannelPods(cluster);
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

/** What pings between the nodes, in both families, and out of the cluster lose meanwhile. */
async function lostDuring(change: () => Promise<void>): Promise<readonly number[]> {
  const [a, b] = pods;
  await using pings = new AsyncDisposableStack();
  const running = [
    pings.use(await ContinuousPing.start(a.namespace, b.ipv4 ?? "")),
    pings.use(await ContinuousPing.start(b.namespace, a.ipv6 ?? "")),
    pings.use(await ContinuousPing.start(a.namespace, "192.168.50.1")),
    pings.use(await ContinuousPing.start(b.namespace, "fd00:50::1")),
  ];
  await change();
  await running[0]?.more(100);
  const reports = await Promise.all(running.map((one) => one.stop()));
  return reports.map(({ lost }) => lost.length);
}

/** What must not be made anew on a node: its devices, and what others know of it. */
async function identityOf(node: number): Promise<object> {
  const { namespace, name } = cluster.node(node).host;
  const links = await namespace.ipJson("link", "show");
  const found = ["flannel.1", "flannel-v6.1", "cni0"].map((device) => links.find(({ ifname }) => ifname === device));
  const macs = await Promise.all(["flannel.1", "flannel-v6.1"].map((device) => link(namespace, device)));
  return {
    indexes: found.map((device) => device?.["ifindex"]),
    macs: macs.map((device) => device?.mac),
    annotations: flannelAnnotations((await cluster.api.node(name)).metadata.annotations ?? {}),
  };
}

function flannelAnnotations(all: Readonly<Record<string, string>>): object {
  return Object.fromEntries(Object.entries(all).filter(([name]) => name.startsWith("flannel.alpha.coreos.com/")));
}

/** Traffic rules of flannel's, as iptables lists them. */
async function rulesOf(node: number): Promise<readonly string[]> {
  const { namespace } = cluster.node(node).host;
  const listed = await Promise.all(
    ["iptables", "ip6tables"].map(async (program) =>
      (await namespace.run([`${program}-save`])).split("\n").map((line) => `${program} ${line}`),
    ),
  );
  return listed.flat().filter((line) => / -A .*flannel/i.test(line));
}

async function newPodsTalk(suffix: string): Promise<void> {
  const [one, two] = await Promise.all(nodes.map((node) => cluster.startPod(node, `${suffix}-${node}`)));
  if (one === undefined || two === undefined) throw new Error("there are two nodes");
  await untilAllPing([...pods, one, two]);
  expect(await httpName(one.namespace, two.ipv4 ?? "")).toBe(two.name);
  expect(await httpName(two.namespace, one.ipv6 ?? "")).toBe(one.name);
  for (const pod of [one, two]) await cluster.deletePod(pod);
}

test("upstream's flannel is the network", async () => {
  await agents.rollOut(upstream);
  for (const node of nodes) await cluster.untilNode(node).catch((error: unknown) => agents.explain(error));
  const [a, b] = await Promise.all(nodes.map((node) => cluster.startPod(node, `p${node}`)));
  if (a === undefined || b === undefined) throw new Error("there are two nodes");
  pods = [a, b];
  await untilAllPing(pods);
  lostByUpstream = await lostDuring(() => agents.restart());
});

test("to ours: nothing is lost, nothing is made anew, old and new pods talk", async () => {
  const before = await Promise.all(nodes.map(identityOf));
  expect(await lostDuring(() => agents.rollOut(ours)).catch((error: unknown) => agents.explain(error))).toEqual([
    0, 0, 0, 0,
  ]);
  expect(await Promise.all(nodes.map(identityOf))).toEqual(before);
  expect(await agents.ctl(1, "status")).toContain("ready");
  await newPodsTalk("ours");
});

test("and back: no more is lost than by upstream's own restart", async () => {
  const before = await Promise.all(nodes.map(identityOf));
  const lost = await lostDuring(() => agents.rollOut(upstream));
  for (const [index, count] of lost.entries()) expect(count).toBeLessThanOrEqual(lostByUpstream[index] ?? 0);
  expect(await Promise.all(nodes.map(identityOf))).toEqual(before);
  await newPodsTalk("back");
  for (const node of nodes) {
    const rules = await rulesOf(node);
    expect(rules.filter((rule) => rule.includes(" -A POSTROUTING "))).toHaveLength(2);
    expect(new Set(rules).size, rules.join("\n")).toBe(rules.length);
  }
});

/** Text of a manifest with one place changed, which has to be there. */
function changed(manifest: string, ...[from, to]: readonly [RegExp, string]): string {
  if (!from.test(manifest)) throw new Error(`the manifest has nothing like ${from}`);
  return manifest.replace(from, to);
}

test("from an older manifest, in another namespace and under another name, node by node: nothing is lost", async () => {
  const kubectl = (...words: readonly string[]) => cluster.api.kubectl(words);
  await kubectl("delete", "-n", "kube-flannel", "daemonset/kube-flannel-ds", "--cascade=foreground");
  await cluster.apply(olderUpstreamManifest(netConf));
  await kubectl("rollout", "status", ...olderDaemonSet, "--timeout=60s");
  const before = await Promise.all(nodes.map(identityOf));
  const withLabel = changed(ours, /^( {6})hostNetwork: true$/m, "$1nodeSelector: { flannel: ours }\n$&");
  const migrate = async () => {
    await kubectl("delete", ...olderDaemonSet, "--cascade=orphan");
    // The ClusterRoleBinding of that name becomes that of our account; the old agents need theirs to the end.
    const old = ["clusterrolebinding", "flannel-old"];
    await kubectl("create", ...old, "--clusterrole=flannel", "--serviceaccount=kube-system:flannel");
    await cluster.apply(withLabel);
    for (const node of nodes) {
      const onNode = ["-l", "app=flannel", `--field-selector=spec.nodeName=h${node}`];
      await kubectl("-n", "kube-system", "delete", "pod", ...onNode);
      await kubectl("label", "node", `h${node}`, "flannel=ours");
      await agents.untilReady(node);
    }
    await kubectl("delete", ...old);
  };
  expect(await lostDuring(migrate).catch((error: unknown) => agents.explain(error))).toEqual([0, 0, 0, 0]);
  expect(await Promise.all(nodes.map(identityOf))).toEqual(before);
  await newPodsTalk("older");
});

test("without a directory for the state, without the lock of iptables and without systemd's file", async () => {
  const before = await Promise.all(nodes.map(identityOf));
  const emptyDir = changed(ours, /hostPath: \{ path: \/var\/lib\/flannel, .*\}/, "emptyDir: {}");
  const nftables = changed(emptyDir, /"EnableNFTables":false/, '"EnableNFTables":true');
  const withoutLock = changed(nftables, /^ +- \{ name: xtables-lock, .*\n/m, "");
  const withoutBoot = changed(withoutLock, /^ +- \{ name: cni-boot, .*\n/m, "");
  const bare = [/^ +- name: xtables-lock\n.*\n?/m, /^ +- name: cni-boot\n.*\n/m, /^ +- --cni-boot-file.*\n/m].reduce(
    (manifest, lines) => changed(manifest, lines, ""),
    withoutBoot,
  );
  const roll = () => agents.rollOut(bare);
  expect(await lostDuring(roll).catch((error: unknown) => agents.explain(error))).toEqual([0, 0, 0, 0]);
  // Its MAC is on its Node.
  expect(await Promise.all(nodes.map(identityOf))).toEqual(before);
  expect(await agents.ctl(1, "status")).toContain("ready");
  await newPodsTalk("bare");
});

test("nothing is left of any pod, whichever way it was attached and detached", async () => {
  for (const pod of pods) await cluster.deletePod(pod);
  for (const node of nodes) {
    const host = cluster.node(node);
    // As if it had been long ago: what upstream's plugin kept of them is removed then.
    await host.run(["sh", "-c", "find /var/lib/cni/flannel -type f -exec touch -d '1 hour ago' {} +"]);
    const look = async () => {
      expect(await containerTraces(host)).toEqual(noTraces);
      return true;
    };
    await until(look, { what: `no traces of pods on node ${node}` });
  }
});

// The last one: the controllers take minutes to come back.
test("ours loses nothing while the API server is away for two minutes, and an agent is killed meanwhile", async () => {
  pods = [await cluster.startPod(1, "q1"), await cluster.startPod(2, "q2")];
  await untilAllPing(pods);
  const restarts = restartsOf(await agents.on(1));
  const away = async () => {
    await cluster.api.server.stop();
    await cluster.node(1).kill("flanneld");
    // Longer than the API server's own patience with kubelets, after which Nodes are Unknown.
    await delay(120_000);
    await cluster.api.restart();
    await agents.untilReady(1, (pod) => restartsOf(pod) > restarts);
  };
  expect(await lostDuring(away).catch((error: unknown) => agents.explain(error))).toEqual([0, 0, 0, 0]);
});
