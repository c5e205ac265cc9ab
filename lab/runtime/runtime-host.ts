// A host of the lab on which a runtime for pods runs without Kubernetes: containerd 2, driven by crictl, beside an agent with
// its files where they are by default.
import { fileURLToPath } from "node:url";
import type { CommandResult } from "../command.ts";
import type { Daemon } from "../daemon.ts";
import type { LabHost } from "../host.ts";
import { cgroupOfNode } from "../kubernetes/cgroups.ts";
import { Machine } from "../kubernetes/machine.ts";
import { containerdConfig } from "../kubernetes/node-config.ts";
import { until } from "../wait.ts";
import { runtimeProgram, runtimePrograms } from "./runtime-programs.ts";

export interface RuntimeHostOptions {
  /** Of the agent. */
  readonly args: readonly string[];
  /** Archives that containerd imports, the image of `node-config.ts` among them. */
  readonly images: readonly string[];
}

const checkout = fileURLToPath(new URL("../..", import.meta.url));
const socket = "unix:///run/containerd/containerd.sock";

export class RuntimeHost implements AsyncDisposable {
  readonly machine: Machine;
  readonly #agentArguments: readonly string[];
  readonly #images: string[];
  #daemons: { readonly containerd: Daemon; readonly agent: Daemon } | undefined;

  private constructor(host: LabHost, { args, images }: RuntimeHostOptions) {
    this.machine = new Machine(host, { cniPlugins: runtimePrograms() });
    this.#agentArguments = args;
    this.#images = [...images];
  }

  /** Returns when containerd answers; the agent is not started. */
  static async start(host: LabHost, options: RuntimeHostOptions): Promise<RuntimeHost> {
    const runtimeHost = new RuntimeHost(host, options);
    try {
      await runtimeHost.up();
    } catch (error) {
      await runtimeHost[Symbol.asyncDispose]();
      throw error;
    }
    return runtimeHost;
  }

  get containerd(): Daemon {
    return this.#running.containerd;
  }

  get agent(): Daemon {
    return this.#running.agent;
  }

  /** Also again, after the machine was switched off. */
  async up(): Promise<void> {
    const { machine } = this;
    await machine.write("containerd.toml", containerdConfig);
    await machine.boot();
    const path = `PATH=${runtimePrograms()}:${process.env["PATH"]}`;
    const containerd = ["env", path, "containerd", "--config", "/run/lab/containerd.toml", "--log-level", "warn"];
    this.#daemons = {
      containerd: machine.daemon("containerd", containerd),
      agent: machine.daemon("flanneld", [`${checkout}bin/flanneld`, ...this.#agentArguments]),
    };
    await this.startContainerd();
    while (this.#images.length > 0) await machine.importImage(this.#images.shift() ?? "", runtimeProgram("ctr"));
  }

  /** Returns when it answers. */
  async startContainerd(): Promise<void> {
    this.containerd.start();
    await this.containerd.until("containerd answers", async () => (await this.tryCrictl("version")).exitCode === 0);
  }

  /** Its processes end at once. See `lan.replaceHost` for what else a reboot takes. */
  async powerOff(): Promise<void> {
    this.#daemons = undefined;
    await this.machine.powerOff();
  }

  crictl(...words: readonly string[]): Promise<string> {
    return this.machine.run(this.#crictl(words));
  }

  tryCrictl(...words: readonly string[]): Promise<CommandResult> {
    return this.machine.tryRun(this.#crictl(words));
  }

  /** Makes a pod without containers: a sandbox on the network. Gives its id. */
  async runPod(name: string): Promise<string> {
    const metadata = { name, namespace: "default", uid: `uid-${name}`, attempt: 1 };
    const linux = { cgroup_parent: cgroupOfNode(this.machine.name) };
    await this.machine.write(`${name}.json`, JSON.stringify({ metadata, linux }));
    return (await this.crictl("runp", `/run/lab/${name}.json`)).trim();
  }

  /** Ids of all that the runtime has. */
  async pods(): Promise<string[]> {
    return (await this.crictl("pods", "--quiet")).split("\n").filter((id) => id !== "");
  }

  async removeAllPods(): Promise<void> {
    await this.crictl("rmp", "--all", "--force");
    await until(async () => (await this.pods()).length === 0, { what: "the pods to be gone" });
  }

  /** An address of a pod's. */
  async addressOf(pod: string): Promise<string> {
    const { status } = JSON.parse(await this.crictl("inspectp", pod)) as { status: { network: { ip: string } } };
    return status.network.ip;
  }

  /** By the library that runtimes share; see `program/main.go`. */
  tryVerb(verb: "status" | "gc" | "check", ...words: readonly string[]): Promise<CommandResult> {
    return this.machine.tryRun([runtimeProgram("cni-verbs"), verb, "/etc/cni/net.d/10-flannel.conflist", ...words]);
  }

  flannelctl(...words: readonly string[]): Promise<string> {
    return this.machine.run([`${checkout}bin/flannelctl`, ...words]);
  }

  /** What its programs said last, for a failing test. */
  get log(): string {
    const logs = Object.values(this.#daemons ?? {});
    return logs.map((daemon) => `--- ${daemon.name}:\n${daemon.log.slice(-6_000)}`).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#daemons = undefined;
    await this.machine[Symbol.asyncDispose]();
  }

  get #running() {
    if (this.#daemons === undefined) throw new Error(`${this.machine.name} is switched off`);
    return this.#daemons;
  }

  #crictl(words: readonly string[]): readonly string[] {
    return [runtimeProgram("crictl"), `--runtime-endpoint=${socket}`, "--timeout=120s", ...words];
  }
}
