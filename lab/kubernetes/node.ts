// A Kubernetes node of the lab: a host of the LAN with file systems and processes of its own, on which containerd, a real
// kubelet and kube-proxy run. Images come from files. It can be rebooted; its disk is in the box's memory.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type CommandResult, run, tryRun } from "../command.ts";
import { Daemon } from "../daemon.ts";
import type { LabHost } from "../host.ts";
import { Namespace } from "../namespace.ts";
import { until } from "../wait.ts";
import type { KubernetesApi } from "./api-server.ts";
import { cgroupOfNode, makeCgroups, removeCgroups } from "./cgroups.ts";
import { containerdConfig, kubeletConfig, type ProxyMode, proxyConfig } from "./node-config.ts";
import { kubernetesProgram } from "./program.ts";

export interface NodeSetup {
  /** Archives that containerd can import, imported before the kubelet starts. */
  readonly images: readonly string[];
  readonly proxyMode?: ProxyMode;
  readonly clusterDns?: string;
}

const firstProcess = fileURLToPath(new URL("node.sh", import.meta.url));
const namespaces = ["--mount", "--uts", "--pid", "--ipc", "--fork", "--propagation", "private", "--mount-proc"];

export class KubernetesNode implements AsyncDisposable {
  /** The host's: `h1`. */
  readonly name: string;
  readonly host: LabHost;
  readonly #api: KubernetesApi;
  readonly #setup: NodeSetup;
  /** Not imported yet. */
  readonly #images: string[];
  #machine: ChildProcess | undefined;
  /** Pid of the node's first process, as the box sees it. */
  #pid = 0;
  #daemons: { readonly containerd: Daemon; readonly kubelet: Daemon; readonly proxy: Daemon } | undefined;

  private constructor(host: LabHost, api: KubernetesApi, setup: NodeSetup) {
    this.name = host.name;
    this.host = host;
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
    await makeCgroups(this.name);
    await this.#boot();
    const daemons = {
      containerd: this.#daemon("containerd", [
        "containerd",
        "--config",
        "/run/lab/containerd.toml",
        "--log-level",
        "warn",
      ]),
      kubelet: this.#daemon("kubelet", this.#kubeletArguments()),
      proxy: this.#daemon("kube-proxy", [kubernetesProgram("proxy"), "--config=/run/lab/proxy.json"]),
    };
    this.#daemons = daemons;
    daemons.containerd.start();
    await daemons.containerd.until("containerd answers", async () => (await this.#ctr("version")).exitCode === 0);
    // Its disk keeps them.
    while (this.#images.length > 0) await this.importImage(this.#images.shift() ?? "");
    daemons.kubelet.start();
    daemons.proxy.start();
    await daemons.kubelet.until(`the Node ${this.name} is there`, async () => {
      await this.#api.node(this.name);
      return true;
    });
  }

  /** All processes end at once, and /run is gone. The network namespace stays: see `lan.reboot`. */
  async powerOff(): Promise<void> {
    const machine = this.#machine;
    this.#machine = undefined;
    this.#daemons = undefined;
    if (machine === undefined || machine.exitCode !== null || machine.signalCode !== null) return;
    const closed = new Promise((resolve) => machine.once("close", resolve));
    machine.kill("SIGKILL");
    await closed;
    await until(() => !existsSync(`/proc/${this.#pid}`), { what: `the processes of ${this.name} to end` });
  }

  /** Makes an image known to the node, from an archive. */
  async importImage(archive: string): Promise<void> {
    const local = join(this.#disk, "lab/image.tar");
    await copyFile(archive, local);
    const result = await this.#ctr("-n", "k8s.io", "images", "import", "/run/lab/image.tar");
    await rm(local);
    if (result.exitCode !== 0) throw new Error(`${this.name}: ${archive} could not be imported: ${result.stderr}`);
  }

  /** Runs a program in the node. */
  run(argv: readonly string[], input = ""): Promise<string> {
    return run(this.#inside(argv), { input });
  }

  tryRun(argv: readonly string[], input = ""): Promise<CommandResult> {
    return tryRun(this.#inside(argv), { input });
  }

  /** Kills the one process of that name in the node: -9. */
  async kill(name: string): Promise<void> {
    const pids = (await this.run(["pgrep", "-x", name])).trim().split("\n");
    if (pids.length !== 1) throw new Error(`${this.name} has ${pids.length} processes ${name}: ${pids.join(" ")}`);
    await this.run(["kill", "-9", pids[0] ?? ""]);
  }

  /** Text of a file of the node. */
  readFile(path: string): string {
    return readFileSync(`/proc/${this.#pid}/root${path}`, "utf8");
  }

  exists(path: string): boolean {
    return existsSync(`/proc/${this.#pid}/root${path}`);
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
    await run(["mount", "--bind", `/proc/${this.#pid}/root${path}`, handle]);
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
    return logs.map((daemon) => `--- ${daemon.name} on ${this.name}:\n${daemon.log.slice(-6_000)}`).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.powerOff();
    await removeCgroups(this.name);
    await rm(this.#disk, { recursive: true, force: true });
  }

  get #running() {
    if (this.#daemons === undefined) throw new Error(`${this.name} is switched off`);
    return this.#daemons;
  }

  get #disk(): string {
    return `/run/kubernetes-nodes/${this.name}`;
  }

  async #writeFiles(): Promise<void> {
    const directory = join(this.#disk, "lab");
    await mkdir(directory, { recursive: true });
    const server = this.#api.serverAddress;
    const kubelet = await this.#api.kubeconfigOfUser(`system:node:${this.name}`, ["system:nodes"], server);
    const proxy = await this.#api.kubeconfigOfUser("system:kube-proxy", [], server);
    await copyFile(kubelet, join(directory, "kubelet.kubeconfig"));
    await copyFile(proxy, join(directory, "proxy.kubeconfig"));
    await copyFile(this.#api.pki.caFile, join(directory, "ca.crt"));
    await writeFile(join(directory, "containerd.toml"), containerdConfig);
    const { clusterDns } = this.#setup;
    const kubeletFile = kubeletConfig({
      ...{ cgroupRoot: cgroupOfNode(this.name), caFile: "/run/lab/ca.crt" },
      ...(clusterDns !== undefined && { clusterDns }),
    });
    await writeFile(join(directory, "kubelet.json"), JSON.stringify(kubeletFile));
    const proxyFile = proxyConfig({
      node: this.name,
      kubeconfig: "/run/lab/proxy.kubeconfig",
      mode: this.#setup.proxyMode ?? "iptables",
      podNetworks: this.#api.podNetworks,
    });
    await writeFile(join(directory, "proxy.json"), JSON.stringify(proxyFile));
  }

  async #boot(): Promise<void> {
    await rm(join(this.#disk, "lab/up"), { force: true });
    const enter = ["nsenter", `--net=/run/netns/${this.name}`, "unshare", ...namespaces, "--kill-child=SIGKILL"];
    const argv = ["setpriv", "--pdeathsig", "KILL", "--", ...enter, "sh", firstProcess, this.name, this.#disk];
    const machine = spawn(argv[0] ?? "", argv.slice(1), { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    machine.stderr.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-2_000);
    });
    this.#machine = machine;
    const look = () => {
      if (machine.exitCode !== null || machine.signalCode !== null) return "ended";
      return existsSync(join(this.#disk, "lab/up")) ? "up" : undefined;
    };
    if ((await until(look, { what: `${this.name} to boot` })) === "ended") {
      throw new Error(`${this.name} did not boot: ${said}`);
    }
    // `unshare` has one child: the node's first process.
    this.#pid = Number(readFileSync(`/proc/${machine.pid}/task/${machine.pid}/children`, "utf8").trim());
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

  #ctr(...words: readonly string[]): Promise<CommandResult> {
    return this.tryRun(["ctr", ...words]);
  }

  #inside(argv: readonly string[]): readonly string[] {
    const into = ["--mount", "--uts", "--net", "--ipc", "--pid"];
    return ["nsenter", `--target=${this.#pid}`, ...into, "--", ...argv];
  }

  /** Dies with its `nsenter`, which waits outside of the node's process namespace. */
  #daemon(name: string, argv: readonly string[]): Daemon {
    const command = this.#inside(["setpriv", "--pdeathsig", "KILL", "--", ...argv]);
    return new Daemon(`${name} on ${this.name}`, new Namespace(""), command);
  }
}
