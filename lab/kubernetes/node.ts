// A Kubernetes node of the lab: a machine on which containerd, a real kubelet and kube-proxy run. Images come from files. It
// can be rebooted.
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { type CommandResult, run } from "../command.ts";
import type { Daemon } from "../daemon.ts";
import type { LabHost } from "../host.ts";
import { Namespace } from "../namespace.ts";
import type { KubernetesApi } from "./api-server.ts";
import { cgroupOfNode } from "./cgroups.ts";
import { Machine } from "./machine.ts";
import { containerdConfig, kubeletConfig, type ProxyMode, proxyConfig } from "./node-config.ts";
import { kubernetesProgram } from "./program.ts";

export interface NodeSetup {
  /** Archives that containerd can import, imported before the kubelet starts. */
  readonly images: readonly string[];
  readonly proxyMode?: ProxyMode;
  readonly clusterDns?: string;
}

export class KubernetesNode implements AsyncDisposable {
  readonly host: LabHost;
  readonly #machine: Machine;
  readonly #api: KubernetesApi;
  readonly #setup: NodeSetup;
  /** Not imported yet. */
  readonly #images: string[];
  #daemons: { readonly containerd: Daemon; readonly kubelet: Daemon; readonly proxy: Daemon } | undefined;

  private constructor(host: LabHost, api: KubernetesApi, setup: NodeSetup) {
    this.host = host;
    this.#machine = new Machine(host);
    this.#api = api;
    this.#setup = setup;
    this.#images = [...setup.images];
  }

  /** Returns when its kubelet has made the Node object. */
  static async start(host: LabHost, api: KubernetesApi, setup: NodeSetup): Promise<KubernetesNode> {
    const node = new KubernetesNode(host, api, setup);
    try {
      await node.#writeFiles();
      await node.up();
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
    return node;
  }

  /** The host's: `h1`. */
  get name(): string {
    return this.host.name;
  }

  get containerd(): Daemon {
    return this.#running.containerd;
  }

  get kubelet(): Daemon {
    return this.#running.kubelet;
  }

  get proxy(): Daemon {
    return this.#running.proxy;
  }

  /** Starts the machine and all that runs on it, also again after `powerOff`. */
  async up(): Promise<void> {
    const machine = this.#machine;
    await machine.boot();
    const containerd = ["containerd", "--config", "/run/lab/containerd.toml", "--log-level", "warn"];
    const daemons = {
      containerd: machine.daemon("containerd", containerd),
      kubelet: machine.daemon("kubelet", this.#kubeletArguments()),
      proxy: machine.daemon("kube-proxy", [kubernetesProgram("proxy"), "--config=/run/lab/proxy.json"]),
    };
    this.#daemons = daemons;
    daemons.containerd.start();
    const answers = async () => (await machine.tryRun(["ctr", "version"])).exitCode === 0;
    await daemons.containerd.until("containerd answers", answers);
    // Its disk keeps them.
    while (this.#images.length > 0) await this.importImage(this.#images.shift() ?? "");
    daemons.kubelet.start();
    daemons.proxy.start();
    await daemons.kubelet.until(`the Node ${this.name} is there`, async () => {
      await this.#api.node(this.name);
      return true;
    });
  }

  /** All processes end at once, and /run is gone. The network namespace stays: see `lan.replaceHost`. */
  async powerOff(): Promise<void> {
    this.#daemons = undefined;
    await this.#machine.powerOff();
  }

  /** Makes an image known to the node, from an archive. */
  importImage(archive: string): Promise<void> {
    return this.#machine.importImage(archive);
  }

  /** Runs a program in the node. */
  run(argv: readonly string[], input = ""): Promise<string> {
    return this.#machine.run(argv, input);
  }

  tryRun(argv: readonly string[], input = ""): Promise<CommandResult> {
    return this.#machine.tryRun(argv, input);
  }

  /** Kills the one process of that name in the node: -9. */
  kill(name: string): Promise<void> {
    return this.#machine.kill(name);
  }

  /** Text of a file of the node. */
  readFile(path: string): string {
    return this.#machine.readFile(path);
  }

  exists(path: string): boolean {
    return this.#machine.exists(path);
  }

  /** The network namespace of a pod that runs here, under a name that `ip netns` knows in the box. */
  async namespaceOfPod(uid: string): Promise<Namespace> {
    const filter = `labels."io.kubernetes.pod.uid"==${uid},labels."io.cri-containerd.kind"==sandbox`;
    const ids = (await this.run(["ctr", "-n", "k8s.io", "containers", "ls", "-q", filter])).trim().split("\n");
    const paths = await Promise.all(ids.map((id) => this.#namespaceOfSandbox(id)));
    // A sandbox that was given up is listed for a while beside the one that took its place.
    const path = paths.find((one) => one !== undefined && this.exists(one));
    if (path === undefined) throw new Error(`${this.name}: the pod ${uid} has no network namespace`);
    const name = `pod-${uid.slice(0, 8)}`;
    const handle = `/run/netns/${name}`;
    if (existsSync(handle)) await run(["ip", "netns", "del", name]);
    await writeFile(handle, "");
    await run(["mount", "--bind", this.#machine.outside(path), handle]);
    return new Namespace(name);
  }

  async #namespaceOfSandbox(id: string): Promise<string | undefined> {
    const info = await this.tryRun(["ctr", "-n", "k8s.io", "containers", "info", id]);
    return /"(?:\/var)?(\/run\/netns\/cni-[^"]+)"/.exec(info.stdout)?.[1];
  }

  /** What its programs said last, for a failing test. */
  get log(): string {
    const { containerd, kubelet, proxy } = this.#daemons ?? {};
    const logs = [containerd, kubelet, proxy].filter((daemon) => daemon !== undefined);
    return logs.map((daemon) => `--- ${daemon.name}:\n${daemon.log.slice(-6_000)}`).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#daemons = undefined;
    await this.#machine[Symbol.asyncDispose]();
  }

  get #running() {
    if (this.#daemons === undefined) throw new Error(`${this.name} is switched off`);
    return this.#daemons;
  }

  async #writeFiles(): Promise<void> {
    const server = this.#api.serverAddress;
    const kubeconfigs = {
      kubelet: await this.#api.kubeconfigOfUser(`system:node:${this.name}`, ["system:nodes"], server),
      proxy: await this.#api.kubeconfigOfUser("system:kube-proxy", [], server),
    };
    const { clusterDns } = this.#setup;
    const kubeletFile = kubeletConfig({
      ...{ cgroupRoot: cgroupOfNode(this.name), caFile: "/run/lab/ca.crt" },
      ...(clusterDns !== undefined && { clusterDns }),
    });
    const proxyFile = proxyConfig({
      node: this.name,
      kubeconfig: "/run/lab/proxy.kubeconfig",
      mode: this.#setup.proxyMode ?? "iptables",
      podNetworks: this.#api.podNetworks,
    });
    const files = {
      "kubelet.kubeconfig": await readFile(kubeconfigs.kubelet, "utf8"),
      "proxy.kubeconfig": await readFile(kubeconfigs.proxy, "utf8"),
      "ca.crt": await readFile(this.#api.pki.caFile, "utf8"),
      "containerd.toml": containerdConfig,
      "kubelet.json": JSON.stringify(kubeletFile),
      "proxy.json": JSON.stringify(proxyFile),
    };
    for (const [name, text] of Object.entries(files)) await this.#machine.write(name, text);
  }

  #kubeletArguments(): readonly string[] {
    const { ipv4, ipv6 } = this.host;
    const addresses = { ipv4: [ipv4], ipv6: [ipv6], dual: [ipv4, ipv6] }[this.#api.families];
    return [
      kubernetesProgram("kubelet"),
      ...["--config=/run/lab/kubelet.json", "--kubeconfig=/run/lab/kubelet.kubeconfig"],
      ...[`--hostname-override=${this.name}`, `--node-ip=${addresses.join(",")}`],
    ];
  }
}
