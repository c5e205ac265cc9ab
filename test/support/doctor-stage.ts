// A stage for `flannelctl doctor`: two hosts of a vxlan network with a container each, on which troubles are made and undone.

import type { AgentOptions, LabAgent } from "../../lab/agent.ts";
import type { CommandResult } from "../../lab/command.ts";
import type { LabHost } from "../../lab/host.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { type DoctorOutput, doctorOutputSchema } from "../../src/cli/flannelctl/session/doctor-output.ts";
import { Scene } from "./scene.ts";
import { putConfig } from "./store-peers.ts";

export interface Told {
  readonly exitCode: number | null;
  readonly output: DoctorOutput;
  /** Codes of the findings, in their order. */
  readonly codes: readonly string[];
}

export interface StageOptions {
  /** Default: vxlan. */
  readonly backend?: object;
  readonly launch?: (host: LabHost) => Pick<AgentOptions, "program" | "env">;
  /** Flags of both agents. */
  readonly args?: readonly string[];
  /** Before the agents start. */
  readonly prepare?: () => Promise<void>;
}

export class DoctorStage implements AsyncDisposable {
  readonly scene: Scene;
  readonly agents: readonly LabAgent[];
  readonly pods: readonly Pod[];

  private constructor(scene: Scene, agents: readonly LabAgent[], pods: readonly Pod[]) {
    this.scene = scene;
    this.agents = agents;
    this.pods = pods;
  }

  static async open({ backend, launch, args, prepare }: StageOptions = {}): Promise<DoctorStage> {
    const scene = await Scene.open(2);
    await putConfig(scene.etcd, ...(backend === undefined ? [] : [{ Network: "10.5.0.0/16", Backend: backend }]));
    await prepare?.();
    const flags = args === undefined ? {} : { args };
    const agents = [1, 2].map((number) => scene.start(number, { ...launch?.(scene.host(number)), ...flags }));
    await Promise.all(agents.map((agent) => agent.untilReady({ peers: 1 })));
    const pods = await Promise.all(agents.map(async (agent) => attachPod(agent.host, await agent.untilSubnetEnv())));
    await untilAllPing(pods);
    return new DoctorStage(scene, agents, pods);
  }

  /** As root on that host, with the agent's files. */
  async doctor(number: number, ...words: readonly string[]): Promise<Told> {
    return await this.doctorOf(this.#agent(number), ...words);
  }

  #agent(number: number): LabAgent {
    const agent = this.agents[number - 1];
    if (agent === undefined) throw new Error(`no agent ${number}`);
    return agent;
  }

  ctl(number: number, ...words: readonly string[]): Promise<CommandResult> {
    return this.#ctl(this.#agent(number), ...words);
  }

  #ctl(agent: LabAgent, ...words: readonly string[]): Promise<CommandResult> {
    const files = [`--state-dir=${agent.directory}/state`, `--cni-state-dir=${agent.directory}/cni`];
    return this.scene.ctl(agent, ...files, ...words);
  }

  async doctorOf(agent: LabAgent, ...words: readonly string[]): Promise<Told> {
    const { exitCode, stdout, stderr } = await this.#ctl(agent, "--json", "doctor", "--timeout=30", ...words);
    try {
      const output = doctorOutputSchema.parse(JSON.parse(stdout));
      return { exitCode, output, codes: output.findings.map(({ code }) => code) };
    } catch (cause) {
      throw new Error(`flannelctl doctor exited ${exitCode}: ${stderr}\n${stdout}`, { cause });
    }
  }

  /** A shell command on host 1 or 2, or with 0 in the LAN's own namespace; names in capitals are filled in. */
  async run(number: number, command: string): Promise<void> {
    const namespace = number === 0 ? undefined : this.scene.host(number).namespace;
    await (namespace ?? boxNamespace).run(["sh", "-c", this.fill(command)]);
  }

  fill(text: string): string {
    const [first, second] = this.pods;
    return text
      .replaceAll("POD1", first?.ipv4 ?? "")
      .replaceAll("POD2", second?.ipv4 ?? "")
      .replaceAll("PID2", String(this.agents[1]?.pid ?? ""))
      .replaceAll("ETCD/", `${this.scene.etcd.endpoints}/`)
      .replaceAll("=ETCD", `=${this.scene.etcd.endpoints}`)
      .replaceAll("DIRECTORY2", this.agents[1]?.directory ?? "")
      .replaceAll("PREFIX2", (second?.ipv4 ?? "").replace(/\.\d+$/, ""))
      .replaceAll("BRIDGE2", (second?.ipv4 ?? "").replace(/\d+$/, "1"));
  }

  /** The agent's probes have one of these states for its peer. */
  async untilProbes(number: number, states: readonly string[], lastingMs = 0): Promise<void> {
    await until(
      async () => {
        const paths = (await this.#agent(number).status()).probes?.paths ?? [];
        const found = paths.find((path) => states.includes(path.state));
        if (found === undefined) throw new Error(paths.map((path) => path.state).join(" "));
        return Date.now() - Date.parse(found.since) > lastingMs;
      },
      { what: `probes that find ${states.join(" or ")}` },
    );
  }

  /** The agents are as before the trouble, and nothing is found any more. */
  untilHealthy(number: number): Promise<void> {
    return this.untilCodes(number, []);
  }

  /** What the doctor says once the agent has written down what it heard. */
  async untilCodes(number: number, expected: readonly string[]): Promise<void> {
    await until(
      async () => {
        const { codes, output } = await this.doctor(number);
        if (codes.join() !== expected.join()) throw new Error(JSON.stringify(output.findings, undefined, 1));
        return true;
      },
      { what: `the findings ${expected.join(" ") || "of a host in order: none"}` },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.scene[Symbol.asyncDispose]();
  }
}
