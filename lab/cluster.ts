// A whole small cluster: LAN, etcd with a network configuration, one flanneld and one container on each host.
import { rm } from "node:fs/promises";
import { type AgentOptions, LabAgent } from "./agent.ts";
import { Etcd } from "./etcd.ts";
import type { LabHost } from "./host.ts";
import { createLan, type Lan, type LanOptions } from "./lan.ts";
import { attachPod, type Pod } from "./pod.ts";

export interface ClusterOptions extends LanOptions {
  /** The network configuration, as it stands in etcd. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Flags of every agent. */
  readonly args?: readonly string[];
  /** Hosts that get no agent at start, by number from 1. Default none. */
  readonly withoutAgent?: readonly number[];
  /** How the agent of a host is started. Default: the shipped program. */
  readonly launch?: (host: LabHost) => Pick<AgentOptions, "program" | "env">;
}

const configKey = "/coreos.com/network/config";

/** Disposing kills agents and etcd and removes hosts and their files. */
export class Cluster implements AsyncDisposable {
  readonly lan: Lan;
  readonly etcd: Etcd;
  readonly #options: ClusterOptions;
  readonly #resources: AsyncDisposableStack;
  /** By host number; what ran last. */
  readonly #agents = new Map<number, LabAgent>();
  readonly #pods = new Map<number, Pod>();

  private constructor(options: ClusterOptions, resources: AsyncDisposableStack, lan: Lan, etcd: Etcd) {
    this.#options = options;
    this.#resources = resources;
    this.lan = lan;
    this.etcd = etcd;
  }

  /** Starts all agents at the same moment; returns when each has programmed all others and the containers are up. */
  static async start(options: ClusterOptions): Promise<Cluster> {
    await using resources = new AsyncDisposableStack();
    const lan = resources.use(await createLan(options));
    for (const { runDirectory } of lan.hosts) resources.defer(() => rm(runDirectory, { recursive: true, force: true }));
    const etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    await etcd.put(configKey, JSON.stringify(options.config));
    const cluster = new Cluster(options, resources.move(), lan, etcd);
    try {
      const numbers = lan.hosts.map((_, index) => index + 1);
      const started = numbers.filter((number) => options.withoutAgent?.includes(number) !== true);
      for (const number of started) cluster.startAgent(number);
      await cluster.untilReady();
      for (const number of started) await cluster.attachPod(number);
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  get agents(): readonly LabAgent[] {
    return [...this.#agents.values()];
  }

  get pods(): readonly Pod[] {
    return [...this.#pods.values()];
  }

  agent(number: number): LabAgent {
    return known(this.#agents.get(number), `agent on host ${number}`);
  }

  pod(number: number): Pod {
    return known(this.#pods.get(number), `container on host ${number}`);
  }

  /** Starts the agent of a host, again or for the first time; it becomes `agent(number)`. Does not wait. */
  startAgent(number: number, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): LabAgent {
    const host = this.lan.host(number);
    const flags = [...(this.#options.args ?? []), ...args];
    const launch = this.#options.launch?.(host) ?? {};
    const agent = this.#resources.use(
      LabAgent.start(host, {
        ...launch,
        etcdEndpoints: this.etcd.endpoints,
        args: flags,
        env: { ...launch.env, ...env },
      }),
    );
    this.#agents.set(number, agent);
    return agent;
  }

  /** Waits until every running agent has programmed every other lease; for `alloc` until it is ready. */
  async untilReady(): Promise<void> {
    const running = this.agents.filter((agent) => agent.isRunning);
    const { Type: type } = (this.#options.config["Backend"] ?? {}) as { Type?: string };
    const peers = type === "alloc" ? 0 : running.length - 1;
    await Promise.all(running.map((agent) => agent.untilReady({ peers })));
  }

  /** Makes the host's container, or recreates it, from what subnet.env says now. */
  async attachPod(number: number): Promise<Pod> {
    const agent = this.agent(number);
    const pod = await attachPod(agent.host, await agent.untilSubnetEnv());
    this.#pods.set(number, pod);
    return pod;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

function known<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`the cluster has no ${what}`);
  return value;
}
