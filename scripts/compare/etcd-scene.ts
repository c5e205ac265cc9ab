// Two hosts on an etcd, an agent and a container on each, and what an operator does to the agents in an upgrade. What is
// seen goes into the report.
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type AgentOptions, LabAgent } from "../../lab/agent.ts";
import { Etcd } from "../../lab/etcd.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { leases } from "../../lab/lease-view.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { ContinuousPing, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { wireguardAgent } from "../../lab/wireguard-host.ts";
import type { Build } from "./build.ts";
import { checkHost, checkNotRemade, type HostView, viewHost } from "./host-view.ts";
import type { Report } from "./report.ts";

export type HostNumber = 1 | 2;
export const HOSTS = [1, 2] as const;
/** Answers to wait for when all was done: what goes wrong late must show too. */
const TAIL_PACKETS = 100;
/** Of routes that are not on a device of flannel. */
const ROUTE_PROTOCOL = "241";

export interface SceneView {
  readonly hosts: Readonly<Record<HostNumber, HostView>>;
  readonly leases: string;
}

export class EtcdScene implements AsyncDisposable {
  readonly #report: Report;
  readonly #resources: AsyncDisposableStack;
  readonly #lan: Lan;
  readonly #etcd: Etcd;
  readonly #running = new Map<HostNumber, { readonly agent: LabAgent; readonly build: Build }>();
  #pods: readonly Pod[] = [];

  private constructor(report: Report, resources: AsyncDisposableStack, lan: Lan, etcd: Etcd) {
    this.#report = report;
    this.#resources = resources;
    this.#lan = lan;
    this.#etcd = etcd;
  }

  /** Agents of `build` on both hosts, a container on each, and these reach each other. */
  static async start(config: object, build: Build, report: Report): Promise<EtcdScene> {
    await using resources = new AsyncDisposableStack();
    const lan = resources.use(await createLan({ hosts: HOSTS.length }));
    const etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    await etcd.put("/coreos.com/network/config", JSON.stringify(config));
    const scene = new EtcdScene(report, resources.move(), lan, etcd);
    try {
      for (const number of HOSTS) scene.#start(number, build);
      for (const number of HOSTS) await scene.#untilReady(number);
      scene.#pods = await Promise.all(
        HOSTS.map(async (number) => attachPod(lan.host(number), await scene.#agent(number).untilSubnetEnv())),
      );
      await untilAllPing(scene.#pods);
    } catch (error) {
      await scene[Symbol.asyncDispose]();
      throw error;
    }
    return scene;
  }

  /** A second agent with the same files ends at once and names the first, whichever builds they are. */
  async expectRefused(step: string, number: HostNumber, build: Build): Promise<void> {
    const running = this.#agent(number);
    await using second = LabAgent.start(running.host, this.#options(number, build));
    await until(() => !second.isRunning, { what: "the second agent to end" }).catch(() => undefined);
    const isRefused = !second.isRunning && second.output.includes(`pid ${running.pid}`) && running.isRunning;
    const seen = isRefused ? "refused, naming the pid" : `not refused as it should be: ${second.output.slice(-500)}`;
    this.#report.check(step, "second agent", isRefused, seen);
  }

  /** Stops the agent and starts that of `build`; returns when that is ready. */
  async replace(number: HostNumber, build: Build): Promise<void> {
    await this.#agent(number).term();
    this.#start(number, build);
    await this.#untilReady(number);
  }

  /** The same without a store, and with subnet.env gone: only the remembered state says what was in it. */
  async replaceFromState(step: string, number: HostNumber, build: Build): Promise<void> {
    const { subnetFile } = this.#agent(number);
    const before = readFileSync(subnetFile, "utf8");
    await this.#agent(number).term();
    await rm(subnetFile);
    this.#start(number, build);
    await this.#agent(number).untilSubnetEnv();
    this.#report.checkSame(step, `h${number} remembered subnet.env`, before, readFileSync(subnetFile, "utf8"));
  }

  /** The same, and what the kernel has of flannel is gone too. */
  async replaceAfterReboot(step: string, number: HostNumber, build: Build): Promise<void> {
    const { namespace } = this.#lan.host(number);
    const links = (await namespace.ipJson("link", "show")).map((link) => String(link["ifname"]));
    await this.#agent(number).term();
    for (const name of links.filter((link) => link.startsWith("flannel")))
      await namespace.ip("link", "del", "dev", name);
    for (const family of ["-4", "-6"]) await namespace.ip(family, "route", "flush", "proto", ROUTE_PROTOCOL);
    await this.replaceFromState(step, number, build);
    await untilAllPing(this.#pods);
    // Does not get here otherwise.
    this.#report.check(
      step,
      `h${number} remembered peers`,
      true,
      "reached although the kernel had nothing left of them",
    );
  }

  /** Both ways, every 10 ms: no packet may be lost while `act` runs. */
  async carryWhile(step: string, act: () => Promise<void>): Promise<void> {
    const [first, second] = this.#pods;
    if (first === undefined || second === undefined) throw new Error("there are no containers yet");
    await using out = await ContinuousPing.start(first.namespace, second.ipv4 ?? "");
    await using back = await ContinuousPing.start(second.namespace, first.ipv4 ?? "");
    await act();
    await Promise.all([out.more(TAIL_PACKETS), back.more(TAIL_PACKETS)]);
    for (const [way, traffic] of [
      ["h1 to h2", out],
      ["h2 to h1", back],
    ] as const) {
      const { sent, lost } = await traffic.stop();
      this.#report.check(step, `packets ${way}`, lost.length === 0, `${sent} sent, ${lost.length} lost`);
    }
  }

  async view(): Promise<SceneView> {
    const look = (number: HostNumber) => {
      const { namespace } = this.#lan.host(number);
      return viewHost((argv, options) => namespace.run(argv, options), this.#agent(number).subnetFile);
    };
    return { hosts: { 1: await look(1), 2: await look(2) }, leases: JSON.stringify(await leases(this.#etcd)) };
  }

  checkView(step: string, before: SceneView, after: SceneView): void {
    this.#report.checkSame(step, "leases", before.leases, after.leases);
    for (const number of HOSTS) checkHost(this.#report, step, `h${number}`, before.hosts[number], after.hosts[number]);
  }

  /** For steps that reboot no host. */
  checkNotRemade(step: string, before: SceneView, after: SceneView): void {
    for (const number of HOSTS) {
      checkNotRemade(this.#report, step, `h${number}`, before.hosts[number], after.hosts[number]);
    }
  }

  async stopStore(): Promise<void> {
    for (const member of this.#etcd.members) await member.kill9();
  }

  /** Returns when all agents have the store again. */
  async startStore(): Promise<void> {
    for (const member of this.#etcd.members) {
      member.start();
      await this.#etcd.untilHealthy(member);
    }
    for (const number of HOSTS) await this.#untilReady(number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  #agent(number: HostNumber): LabAgent {
    return this.#current(number).agent;
  }

  #current(number: HostNumber): { readonly agent: LabAgent; readonly build: Build } {
    const current = this.#running.get(number);
    if (current === undefined) throw new Error(`no agent has been started on h${number}`);
    return current;
  }

  #start(number: HostNumber, build: Build): void {
    const agent = this.#resources.use(LabAgent.start(this.#lan.host(number), this.#options(number, build)));
    this.#running.set(number, { agent, build });
  }

  /** Hosts share file systems: keys and sockets of WireGuard are put apart. */
  #options(number: HostNumber, build: Build): AgentOptions {
    const { program, keyFile } = wireguardAgent(this.#lan.host(number), join(build.directory, "bin/flanneld"));
    const env = { WIREGUARD_KEY_FILE: keyFile };
    return { program, env, etcdEndpoints: this.#etcd.endpoints, args: ["--ip-masq"] };
  }

  /** Asks the build's own flannelctl: the shape of the status may be another in each. */
  async #untilReady(number: HostNumber): Promise<void> {
    const { agent, build } = this.#current(number);
    const argv = [join(build.directory, "bin/flannelctl"), `--subnet-file=${agent.subnetFile}`, "wait", "--timeout=60"];
    const { exitCode, stderr } = await agent.host.namespace.tryRun(argv, { timeoutMs: 90_000 });
    if (exitCode !== 0)
      throw new Error(`h${number}: ${build.name} is not ready: ${stderr}${agent.output.slice(-3000)}`);
  }
}
