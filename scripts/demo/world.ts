// The demo's world: LAN, hosts, etcd, one flanneld and one container per host.
import { LabAgent } from "../../lab/agent.ts";
import { Etcd } from "../../lab/etcd.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import type { DemoOptions } from "./demo-options.ts";

export const etcdPrefix = "/coreos.com/network";

/** Needs no tidying up: it lives in a box and ends with it. */
export class World {
  readonly lan: Lan;
  readonly agents: LabAgent[] = [];
  readonly pods: Pod[] = [];
  readonly #options: DemoOptions;
  #etcd: Etcd | undefined;

  private constructor(options: DemoOptions, lan: Lan) {
    this.#options = options;
    this.lan = lan;
  }

  static async create(options: DemoOptions): Promise<World> {
    return new World(options, await createLan({ hosts: options.hosts }));
  }

  get etcd(): Etcd {
    if (this.#etcd === undefined) throw new Error("etcd has not been started yet");
    return this.#etcd;
  }

  async startStore(): Promise<void> {
    this.#etcd = await Etcd.start({ members: [{ address: this.lan.storeAddress }] });
  }

  /** What every agent reads: the network to share out, and how packets travel. */
  async writeNetworkConfig(): Promise<string> {
    const config = JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: this.#options.backend } });
    await this.etcd.put(`${etcdPrefix}/config`, config);
    return config;
  }

  /** All at the same moment; returns when each is ready and has programmed all others it can reach. */
  async startAgents(): Promise<void> {
    for (const host of this.lan.hosts) {
      this.agents.push(LabAgent.start(host, { etcdEndpoints: this.etcd.endpoints }));
    }
    const peers = this.#options.backend === "alloc" ? 0 : this.agents.length - 1;
    await Promise.all(this.agents.map((agent) => agent.untilReady({ peers, timeoutMs: 30_000 })));
  }

  async startContainers(): Promise<void> {
    for (const [index, agent] of this.agents.entries()) {
      this.pods.push(await attachPod(agent.host, await agent.untilSubnetEnv(), `container${index + 1}`));
    }
  }
}
