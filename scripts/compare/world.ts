// The worlds of `neutral`: a LAN, an etcd and three agents of one build, alike in everything that can be laid down.
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LabAgent } from "../../lab/agent.ts";
import { type CommandResult, tryRun } from "../../lab/command.ts";
import { Etcd } from "../../lab/etcd.ts";
import type { LabHost } from "../../lab/host.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { until } from "../../lab/wait.ts";
import type { Build } from "./build.ts";
import { inTurns } from "./in-turns.ts";

export interface WorldPlan {
  readonly name: string;
  readonly backend: Readonly<Record<string, unknown>>;
  readonly dualStack: boolean;
  /** The third host is behind a router. */
  readonly routed?: boolean;
  readonly nftables?: boolean;
  /** Further flags of every agent. */
  readonly args?: readonly string[];
}

export const worldPlans: readonly WorldPlan[] = [
  { name: "vxlan", backend: { Type: "vxlan" }, dualStack: false, args: ["--ip-masq"] },
  { name: "vxlan-dual", backend: { Type: "vxlan" }, dualStack: true, nftables: true, args: ["--ip-masq"] },
  { name: "vxlan-direct", backend: { Type: "vxlan", DirectRouting: true }, dualStack: true, routed: true },
  { name: "host-gw", backend: { Type: "host-gw" }, dualStack: false, args: ["--ip-blackhole-route"] },
  { name: "host-gw-dual", backend: { Type: "host-gw" }, dualStack: true, nftables: true },
  { name: "udp", backend: { Type: "udp" }, dualStack: false, args: ["--ip-masq"] },
  { name: "alloc", backend: { Type: "alloc" }, dualStack: false },
  { name: "alloc-dual", backend: { Type: "alloc" }, dualStack: true, args: ["--ip-masq"] },
];

const HOSTS = [1, 2, 3];
export const AT_ONCE = 3;
const configKey = "/coreos.com/network/config";

export class World implements AsyncDisposable {
  readonly plan: WorldPlan;
  readonly build: Build;
  readonly lan: Lan;
  readonly etcd: Etcd;
  readonly #resources: AsyncDisposableStack;
  readonly #agents = new Map<number, LabAgent>();

  private constructor(plan: WorldPlan, build: Build, lan: Lan, etcd: Etcd, resources: AsyncDisposableStack) {
    this.plan = plan;
    this.build = build;
    this.lan = lan;
    this.etcd = etcd;
    this.#resources = resources;
  }

  /**
   * Starts the agents one after the other, so that who came first is not chance: it shows in the order of plans and
   * lists. Every agent is ready and has programmed the others when it resolves.
   */
  static async start(plan: WorldPlan, build: Build): Promise<World> {
    await using resources = new AsyncDisposableStack();
    const hosts = plan.routed === true ? { hosts: 2, routedHosts: 1 } : { hosts: 3 };
    const lan = resources.use(await createLan({ ...hosts, ipv6: plan.dualStack }));
    for (const { runDirectory } of lan.hosts) resources.defer(() => rm(runDirectory, { recursive: true, force: true }));
    const etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    await etcd.put(configKey, JSON.stringify(networkConfig(plan)));
    const world = new World(plan, build, lan, etcd, resources.move());
    try {
      for (const number of HOSTS) {
        await world.#layDownSubnet(number);
        world.startAgent(number);
        await world.#untilReady(number);
      }
      await inTurns(AT_ONCE, HOSTS, (number) => world.#untilKnowsAll(number));
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
    return world;
  }

  agent(number: number): LabAgent {
    const agent = this.#agents.get(number);
    if (agent === undefined) throw new Error(`there is no agent on host ${number}`);
    return agent;
  }

  /** It becomes `agent(number)`. Does not wait. */
  startAgent(number: number): LabAgent {
    const options = {
      program: [join(this.build.directory, "bin/flanneld")],
      etcdEndpoints: this.etcd.endpoints,
      args: this.plan.args ?? [],
    };
    const agent = this.#resources.use(LabAgent.start(this.lan.host(number), options));
    this.#agents.set(number, agent);
    return agent;
  }

  /** flannelctl of the build, on that host with its agent's files. */
  ctl(host: LabHost, ...words: readonly string[]): Promise<CommandResult> {
    const files = [`--subnet-file=${host.runDirectory}/subnet.env`, `--state-dir=${host.runDirectory}/state`];
    const program = join(this.build.directory, "bin/flannelctl");
    return tryRun(host.namespace.command([program, ...files, `--etcd-endpoints=${this.etcd.endpoints}`, ...words]), {
      env: { COLUMNS: "100", NO_COLOR: "1" },
    });
  }

  /** Asks the build's own programs: of the shapes of JSON, which may differ, as little as can be is known here. */
  async #untilReady(number: number): Promise<void> {
    const host = this.lan.host(number);
    const ready = await this.ctl(host, "wait", "--timeout=30");
    if (ready.exitCode !== 0) throw new Error(`${host.name} is not ready: ${ready.stderr}${this.agent(number).output}`);
  }

  async #untilKnowsAll(number: number): Promise<void> {
    if (this.plan.backend["Type"] === "alloc") return;
    const host = this.lan.host(number);
    const peers = new RegExp(`"programmed":\\s*${HOSTS.length - 1}\\b`);
    const knowsAll = async () => peers.test((await this.ctl(host, "--json", "status")).stdout);
    await until(knowsAll, { what: `${host.name} to know all others`, intervalMs: 100 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  /** Subnets are chosen at random; an agent takes the one that its subnet.env names if it is free. */
  async #layDownSubnet(number: number): Promise<void> {
    const { runDirectory } = this.lan.host(number);
    const lines = ["FLANNEL_NETWORK=10.5.0.0/16", `FLANNEL_SUBNET=10.5.${number}.1/24`];
    if (this.plan.dualStack) {
      lines.push("FLANNEL_IPV6_NETWORK=fd00:5::/48", `FLANNEL_IPV6_SUBNET=fd00:5:0:${number}::1/64`);
    }
    await mkdir(runDirectory, { recursive: true });
    await writeFile(
      join(runDirectory, "subnet.env"),
      `${[...lines, "FLANNEL_MTU=1450", "FLANNEL_IPMASQ=false"].join("\n")}\n`,
    );
  }
}

function networkConfig({ backend, dualStack, nftables }: WorldPlan): Readonly<Record<string, unknown>> {
  return {
    Network: "10.5.0.0/16",
    ...(dualStack ? { EnableIPv6: true, IPv6Network: "fd00:5::/48" } : {}),
    ...(nftables === true ? { EnableNFTables: true } : {}),
    Backend: backend,
  };
}
