// The demo's world: LAN, hosts, store, one flanneld and one container per host.
import { LabAgent } from "../../lab/agent.ts";
import { EmbeddedStore } from "../../lab/embedded-store.ts";
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
  #store: Etcd | EmbeddedStore | undefined;

  private constructor(options: DemoOptions, lan: Lan) {
    this.#options = options;
    this.lan = lan;
  }

  static async create(options: DemoOptions): Promise<World> {
    return new World(options, await createLan({ hosts: options.hosts }));
  }

  get store(): Etcd | EmbeddedStore {
    if (this.#store === undefined) throw new Error("the store has not been started yet");
    return this.#store;
  }

  async startStore(): Promise<void> {
    const { storeAddress: address } = this.lan;
    this.#store =
      this.#options.store === "etcd"
        ? await Etcd.start({ members: [{ address }] })
        : await EmbeddedStore.start(address);
  }

  /** What every agent reads: the network to share out, and how packets travel. */
  async writeNetworkConfig(): Promise<string> {
    const config = JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: this.#options.backend } });
    await this.store.put(`${etcdPrefix}/config`, config);
    return config;
  }

  /** All at the same moment; returns when each is ready and has programmed all others it can reach. */
  async startAgents(): Promise<void> {
    for (const host of this.lan.hosts) {
      this.agents.push(LabAgent.start(host, { etcdEndpoints: this.store.endpoints }));
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
