// A stage for `flannelctl doctor`: two hosts of a vxlan network with a container each, on which troubles are made and undone.

import { expect } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { type DoctorOutput, doctorOutputSchema } from "../../src/cli/flannelctl/session/doctor-output.ts";
import type { Trouble } from "./doctor-troubles.ts";
import { Scene } from "./scene.ts";
import { putConfig } from "./store-peers.ts";

export interface Told {
  readonly exitCode: number | null;
  readonly output: DoctorOutput;
  /** Codes of the findings, in their order. */
  readonly codes: readonly string[];
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

  static async open(): Promise<DoctorStage> {
    const scene = await Scene.open(2);
    await putConfig(scene.etcd);
    const agents = [1, 2].map((number) => scene.start(number));
    await Promise.all(agents.map((agent) => agent.untilReady({ peers: 1 })));
    const pods = await Promise.all(agents.map(async (agent) => attachPod(agent.host, await agent.untilSubnetEnv())));
    await untilAllPing(pods);
    return new DoctorStage(scene, agents, pods);
  }

  /** As root on that host, with the agent's files. */
  async doctor(number: number, ...words: readonly string[]): Promise<Told> {
    const agent = this.agents[number - 1];
    if (agent === undefined) throw new Error(`no agent ${number}`);
    const files = [`--state-dir=${agent.directory}/state`, `--cni-state-dir=${agent.directory}/cni`];
    const { exitCode, stdout, stderr } = await this.scene.ctl(
      agent,
      ...files,
      "--json",
      "doctor",
      "--timeout=60",
      ...words,
    );
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
      .replaceAll("DIRECTORY2", this.agents[1]?.directory ?? "")
      .replaceAll("PREFIX2", (second?.ipv4 ?? "").replace(/\.\d+$/, ""))
      .replaceAll("BRIDGE2", (second?.ipv4 ?? "").replace(/\d+$/, "1"));
  }

  /** Makes the trouble, and expects that its cause is told, and nothing beside it. */
  async expectNamed({ code, make, undo, at = 2, asked = 2, seen = /./ }: Trouble): Promise<void> {
    await this.run(at, make);
    try {
      const { output, codes, exitCode } = await this.doctor(asked);
      expect(codes, JSON.stringify([output.findings, output.unknown], undefined, 1)).toEqual([code]);
      expect(output.findings[0]?.evidence[0]?.value).toMatch(seen);
      expect(exitCode).toBe(1);
    } finally {
      await this.run(at, undo);
    }
  }

  /** The agents are as before the trouble, and nothing is found any more. */
  async untilHealthy(number: number): Promise<void> {
    await until(
      async () => {
        const { codes } = await this.doctor(number);
        if (codes.length > 0) throw new Error(codes.join(" "));
        return true;
      },
      { what: "a host without findings" },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.scene[Symbol.asyncDispose]();
  }
}
