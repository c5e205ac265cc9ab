// What Kubernetes wants of a network, asked of three pods: `a` and `c` on the first node, `b` on the second one. `a` and `b`
// carry the label app=web, `a` the host port 18080. Whatever the families: each that the pods have is tried.
import { expect } from "vitest";
import type { KubernetesCluster, KubernetesPod } from "../../lab/kubernetes/cluster.ts";
import type { FlannelPods } from "../../lab/kubernetes/flannel-pods.ts";
import { httpName, peerSeenBy, UdpEcho, udpAnswers } from "../../lab/kubernetes/talk.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";

export type ThreePods = readonly [KubernetesPod, KubernetesPod, KubernetesPod];

export async function startThreePods(cluster: KubernetesCluster): Promise<ThreePods> {
  const web = { labels: { app: "web" } };
  const ports = { container: { ports: [{ containerPort: 8080, hostPort: 18080 }] } };
  return await Promise.all([
    cluster.startPod(1, "a", { ...web, ...ports }),
    cluster.startPod(2, "b", web),
    cluster.startPod(1, "c"),
  ]);
}

const addressesOf = ({ ipv4, ipv6 }: KubernetesPod) => [ipv4, ipv6].filter((address) => address !== undefined);

export async function expectAllTalk(pods: ThreePods): Promise<void> {
  await untilAllPing(pods);
  const [a, b] = pods;
  await using _echo = await UdpEcho.start(b.namespace, 7007);
  for (const address of addressesOf(b)) {
    expect(await httpName(a.namespace, address)).toBe("b");
    expect(await udpAnswers(a.namespace, address, 7007)).toBe(true);
  }
}

/** `ipv6Less`: bytes by which the way over IPv6 carries less than pods may send. */
export async function expectMtuFits([a, b]: ThreePods, ipv6Less = 0): Promise<void> {
  const [link] = await a.namespace.ipJson("link", "show", "dev", "eth0");
  const mtuBytes = Number(link?.["mtu"]);
  expect(mtuBytes).toBeGreaterThan(1400);
  if (b.ipv4 !== undefined) {
    expect(await ping(a.namespace, b.ipv4, { payloadBytes: mtuBytes - 28 })).toBeDefined();
    expect(await ping(a.namespace, b.ipv4, { payloadBytes: mtuBytes - 27 })).toBeUndefined();
  }
  if (b.ipv6 === undefined) return;
  expect(await ping(a.namespace, b.ipv6, { payloadBytes: mtuBytes - ipv6Less - 48 })).toBeDefined();
  if (ipv6Less === 0) return;
  // The node says so to who sends more, and then it passes.
  expect(await ping(a.namespace, b.ipv6, { payloadBytes: mtuBytes - 48 })).toBeUndefined();
  expect((await a.namespace.run(["ip", "-6", "route", "get", b.ipv6])).trim()).toContain(`mtu ${mtuBytes - ipv6Less}`);
}

interface Service {
  readonly spec: { readonly clusterIPs: readonly string[]; readonly ports: { readonly nodePort: number }[] };
}

/** ClusterIP, NodePort, hostPort, a pod's own service, and the API. */
export async function expectServices(cluster: KubernetesCluster, agents: FlannelPods, pods: ThreePods): Promise<void> {
  const [a, b, c] = pods;
  const { families } = cluster.api;
  const service = await cluster.api.client.post<Service>("/api/v1/namespaces/default/services", {
    metadata: { name: "web" },
    spec: {
      type: "NodePort",
      ipFamilyPolicy: families === "dual" ? "RequireDualStack" : "SingleStack",
      selector: { app: "web" },
      ports: [{ port: 80, targetPort: 8080 }],
    },
  });
  const { clusterIPs, ports } = service.spec;
  for (const address of clusterIPs) {
    // From a pod that is behind it itself, it must come back to it, too.
    const answered = new Set<string | undefined>();
    const look = async () => {
      answered.add(await httpName(a.namespace, address, 80));
      return answered.has("a") && answered.has("b");
    };
    await until(look, { what: `both pods to answer at ${address}` }).catch((error: unknown) => agents.explain(error));
    expect(await httpName(c.namespace, address, 80)).toMatch(/^[ab]$/);
  }
  const hosts = cluster.nodes.map(({ host }) => [host.ipv4, host.ipv6].filter((address) => address !== undefined));
  const nodePort = ports[0]?.nodePort ?? 0;
  for (const address of hosts.flat()) {
    const what = `${address}:${nodePort}`;
    await until(async () => (await httpName(boxNamespace, address, nodePort)) !== undefined, { what });
  }
  // portmap of Debian's version leads IPv4 alone to host ports where it can.
  const [first] = hosts[0] ?? [];
  expect(await httpName(boxNamespace, first ?? "", 18080)).toBe("a");
  expect(await httpName(b.namespace, first ?? "", 18080)).toBe("a");
  const apiAddress = families === "ipv6" ? "[fd00:96::1]" : "10.96.0.1";
  const api = await b.namespace.tryRun(["socat", "-u", "/dev/null", `OPENSSL:${apiAddress}:443,verify=0`]);
  expect(api).toMatchObject({ exitCode: 0 });
}

/** What leaves the cluster has the node's address, what stays in it the pod's. */
export async function expectMasquerading([a, b]: ThreePods): Promise<void> {
  const connect = (address: string, port: number) => () =>
    a.namespace.tryRun(["socat", "-u", "/dev/null", `TCP:${address}:${port}`]);
  const { host } = a.node;
  if (a.ipv4 !== undefined) {
    expect(await peerSeenBy(boxNamespace, 7101, connect("192.168.50.1", 7101))).toBe(host.ipv4);
    expect(await peerSeenBy(b.namespace, 7103, connect(b.ipv4 ?? "", 7103))).toBe(a.ipv4);
  }
  if (a.ipv6 === undefined) return;
  expect(await peerSeenBy(boxNamespace, 7102, connect("[fd00:50::1]", 7102))).toBe(host.ipv6);
  expect(await peerSeenBy(b.namespace, 7104, connect(`[${b.ipv6}]`, 7104))).toBe(a.ipv6);
}
