// An agent in the made-up cluster: ours or upstream's, on the same host, through the same proxy.
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LabAgent } from "../lab/agent.ts";
import type { LabHost } from "../lab/host.ts";
import { upstreamProgram } from "../lab/upstream-program.ts";
import { cpuSeconds } from "./cpu-seconds.ts";
import { vxlanDevice } from "./peer-objects.ts";
import { benchConfig } from "./peers.ts";

export type AgentKind = "flanneld" | "upstream";

export const ownNode = "own";
export const ownPodCidr = "10.200.0.0/24";

export class KubeAgent implements AsyncDisposable {
  readonly #agent: LabAgent;

  private constructor(agent: LabAgent) {
    this.#agent = agent;
  }

  static get hasUpstream(): boolean {
    return existsSync(upstreamProgram());
  }

  /** On a host that knows nothing yet. */
  static async start(kind: AgentKind, host: LabHost, kubeconfig: string): Promise<KubeAgent> {
    const configFile = join(host.runDirectory, "net-conf.json");
    await mkdir(host.runDirectory, { recursive: true });
    await writeFile(configFile, benchConfig);
    const args = ["--kube-subnet-mgr", `--kubeconfig-file=${kubeconfig}`, `--net-config-path=${configFile}`];
    const upstream = {
      program: [upstreamProgram()],
      knowsFiles: true,
      args: [...args, `--subnet-file=${join(host.runDirectory, "subnet.env")}`],
    };
    // None of the Nodes is a machine: probes of 5,000 dead hosts have a benchmark of their own.
    const options = kind === "flanneld" ? { args: [...args, "--probe-interval=0"] } : upstream;
    return new KubeAgent(LabAgent.start(host, { ...options, env: { NODE_NAME: ownNode } }));
  }

  /** Of all threads, since exec. */
  cpuSeconds(): Promise<number> {
    return cpuSeconds(this.#agent.pid);
  }

  /** Rejects with its last words when it ends before `work`. */
  async outlives<T>(work: Promise<T>): Promise<T> {
    const ended = this.#agent.exited.then(({ code }) => {
      throw new Error(`the agent ended with ${code}:\n${this.#agent.output.slice(-3_000)}`);
    });
    return await Promise.race([work, ended]);
  }

  async memory(): Promise<{ readonly residentMb: number; readonly peakMb: number }> {
    const text = await readFile(`/proc/${this.#agent.pid}/status`, "utf8");
    const megabytes = (name: string) =>
      (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1]) * 1024) / 1e6;
    return { residentMb: megabytes("VmRSS"), peakMb: megabytes("VmHWM") };
  }

  /** Leaves the host as if it had never been. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent[Symbol.asyncDispose]();
    const { host } = this.#agent;
    await host.namespace.tryRun(["ip", "link", "del", "dev", vxlanDevice]);
    await host.namespace.tryRun(["ip", "nexthop", "flush"]);
    await rm(host.runDirectory, { recursive: true, force: true });
  }
}
