// A whole Kubernetes cluster of the lab: a LAN, the API server with controller manager and scheduler in the box itself
// (the LAN's router), nodes h1, h2, … with real kubelets, and pods as the lab's probes want them.
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createLan, type Lan } from "../lan.ts";
import type { Pod } from "../pod.ts";
import { until } from "../wait.ts";
import { type Families, KubernetesApi, type KubernetesApiOptions } from "./api-server.ts";
import { makeBusyboxImage } from "./images.ts";
import { KubernetesNode } from "./node.ts";
import { busyboxImage, type ProxyMode } from "./node-config.ts";

export interface KubernetesClusterOptions extends KubernetesApiOptions {
  /** Default 2. */
  readonly nodes?: number;
  readonly proxyMode?: ProxyMode;
  /** Address of the service that pods ask for names. Default: they get none that answers. */
  readonly clusterDns?: string;
  /** Archives that each node knows besides the lab's own image. */
  readonly images?: readonly string[];
}

export interface PodOptions {
  readonly labels?: Readonly<Record<string, string>>;
  /** Added to the container: ports, … */
  readonly container?: object;
  /** Added to the pod: hostNetwork, … */
  readonly spec?: object;
}

/** A pod of Kubernetes, running; its namespace is at hand. It answers HTTP on port 8080 with its name. */
export interface KubernetesPod extends Pod {
  readonly uid: string;
  readonly node: KubernetesNode;
}

interface PodObject {
  readonly metadata: { readonly uid: string };
  readonly status?: {
    readonly phase?: string;
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

const imageDirectory = "/run/flannel-lab-images";

export class KubernetesCluster implements AsyncDisposable {
  readonly api: KubernetesApi;
  readonly lan: Lan;
  readonly nodes: readonly KubernetesNode[];
  readonly #resources: AsyncDisposableStack;

  private constructor(parts: Pick<KubernetesCluster, "api" | "lan" | "nodes">, resources: AsyncDisposableStack) {
    this.api = parts.api;
    this.lan = parts.lan;
    this.nodes = parts.nodes;
    this.#resources = resources;
  }

  /** Returns when all nodes are registered and have their podCIDRs. They are not Ready: nothing is their network yet. */
  static async start(options: KubernetesClusterOptions = {}): Promise<KubernetesCluster> {
    await using resources = new AsyncDisposableStack();
    const families = options.families ?? "ipv4";
    const lan = resources.use(await createLan({ hosts: options.nodes ?? 2, ...addressesOf(families) }));
    const api = resources.use(await KubernetesApi.start({ ...options, families }));
    await api.startControllerManager();
    await api.startScheduler();
    const busybox = await makeBusyboxImage(imageDirectory);
    resources.defer(() => rm(imageDirectory, { recursive: true, force: true }));
    const { images = [], proxyMode = "iptables", clusterDns } = options;
    const setup = { images: [busybox, ...images], proxyMode, ...(clusterDns !== undefined && { clusterDns }) };
    const nodes = await Promise.all(
      lan.hosts.map(async (host) => resources.use(await KubernetesNode.start(host, api, setup))),
    );
    const wanted = families === "dual" ? 2 : 1;
    for (const { name } of nodes) {
      const look = async () => (await api.node(name)).spec.podCIDRs?.length === wanted;
      await until(look, { what: `podCIDRs for ${name}` });
    }
    return new KubernetesCluster({ api, lan, nodes }, resources.move());
  }

  /** By number from 1. */
  node(number: number): KubernetesNode {
    const node = this.nodes[number - 1];
    if (node === undefined) throw new Error(`the cluster has no node ${number}, only 1..${this.nodes.length}`);
    return node;
  }

  /** Waits until the kubelet says that the node is Ready, or no longer. */
  async untilNode(number: number, status: "True" | "False" | "Unknown" = "True"): Promise<void> {
    const { name } = this.node(number);
    const look = async () => {
      const ready = (await this.api.node(name)).status?.conditions?.find(({ type }) => type === "Ready");
      if (ready?.status === status) return true;
      throw new Error(JSON.stringify(ready));
    };
    await until(look, { what: `Ready=${status} of node ${name}` });
  }

  /** Switches a node off and on: its processes and its network namespace are thrown away, what is on its disk stays. */
  async rebootNode(number: number): Promise<void> {
    const node = this.node(number);
    await node.powerOff();
    await this.lan.replaceHost(node.host);
    await node.up();
  }

  /** A pod on that node, in the namespace `default`; returns when it answers for itself that it is ready. */
  async startPod(number: number, name: string, options: PodOptions = {}): Promise<KubernetesPod> {
    const { api } = this;
    const node = this.node(number);
    const container = {
      ...{ name: "main", image: busyboxImage, imagePullPolicy: "Never" },
      command: ["sh", "-c", "mkdir /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www"],
      readinessProbe: { httpGet: { port: 8080, path: "/" }, periodSeconds: 1 },
      ...options.container,
    };
    const spec = { nodeName: node.name, terminationGracePeriodSeconds: 0, containers: [container], ...options.spec };
    const body = { metadata: { name, labels: options.labels ?? {} }, spec };
    const path = `/api/v1/namespaces/default/pods`;
    // The controller manager makes the default account a moment after the namespace.
    await until(() => api.client.post<PodObject>(path, body), { what: `the pod ${name} to be accepted` });
    const pod = await until(async () => runningPod(await api.client.get<PodObject>(`${path}/${name}`)), {
      what: `the pod ${name} on ${node.name} to run`,
    }).catch((error: unknown) => this.explain(error));
    const addresses = pod.status?.podIPs?.map(({ ip }) => ip) ?? [];
    return {
      ...{ name, node, uid: pod.metadata.uid, host: node.host },
      namespace: await node.namespaceOfPod(pod.metadata.uid),
      ipv4: addresses.find((address) => !address.includes(":")),
      ipv6: addresses.find((address) => address.includes(":")),
      mtuBytes: 0,
    };
  }

  async deletePod(pod: KubernetesPod): Promise<void> {
    const path = `/api/v1/namespaces/default/pods/${pod.name}`;
    await this.api.client.delete(path);
    const isGone = () =>
      this.api.client.get(path).then(
        () => false,
        () => true,
      );
    await until(isGone, { what: `the pod ${pod.name} to be gone` });
    // The API server forgets a pod without a period of grace before its kubelet has taken the network away.
    const isDetached = async () => (await pod.namespace.tryRun(["ip", "link", "show", "dev", "eth0"])).exitCode !== 0;
    await until(isDetached, { what: `the network of pod ${pod.name} to be gone` });
  }

  /** Applies a manifest as a user would; a field that the API does not know is an error. */
  async apply(manifest: string): Promise<string> {
    const file = join("/run", "manifest.yml");
    await writeFile(file, manifest);
    return this.api.kubectl(["apply", "--validate=strict", "-f", file]);
  }

  /** Throws the error with what the cluster says about itself. */
  async explain(error: unknown): Promise<never> {
    const words = [
      ["get", "pods,nodes", "-A", "-o", "wide"],
      ["get", "events", "-A", "--sort-by=.lastTimestamp"],
    ];
    const texts = await Promise.all(words.map((list) => this.api.tryKubectl(list)));
    const reason = error instanceof Error ? error.message : String(error);
    const told = [...texts.map(({ stdout }) => stdout), ...this.nodes.map((node) => node.log)];
    throw new Error(`${reason}\n${told.join("\n")}`, { cause: error });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

function addressesOf(families: Families): { readonly ipv4: boolean; readonly ipv6: boolean } {
  return { ipv4: families !== "ipv6", ipv6: families !== "ipv4" };
}

function runningPod(pod: PodObject): PodObject | undefined {
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ? pod : undefined;
}
