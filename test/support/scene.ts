// A stage for tests that need few hosts but many beginnings: a LAN and one etcd, emptied between tests.
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type AgentOptions, LabAgent } from "../../lab/agent.ts";
import { type CommandResult, tryRun } from "../../lab/command.ts";
import { Etcd, type EtcdEntry } from "../../lab/etcd.ts";
import type { LabHost } from "../../lab/host.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { leaseDirectory } from "./store-peers.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));

export class Scene implements AsyncDisposable {
  readonly lan: Lan;
  readonly etcd: Etcd;
  readonly #agents = new Set<LabAgent>();

  private constructor(lan: Lan, etcd: Etcd) {
    this.lan = lan;
    this.etcd = etcd;
  }

  static async open(hosts: number): Promise<Scene> {
    const lan = await createLan({ hosts });
    return new Scene(lan, await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  }

  host(number: number): LabHost {
    return this.lan.host(number);
  }

  /** Killed by `clear` if it still runs. */
  start(number: number, options: Partial<AgentOptions> = {}): LabAgent {
    const agent = LabAgent.start(this.host(number), { etcdEndpoints: this.etcd.endpoints, ...options });
    this.#agents.add(agent);
    return agent;
  }

  /** The shipped flannelctl, on the agent's host, with the agent's files and store. */
  ctl(agent: LabAgent, ...words: readonly string[]): Promise<CommandResult> {
    const argv = [flannelctl, `--subnet-file=${agent.subnetFile}`, `--etcd-endpoints=${this.etcd.endpoints}`, ...words];
    return tryRun(agent.host.namespace.command(argv));
  }

  /** The only lease with this public IP. */
  async leaseOf(publicIp: string): Promise<EtcdEntry> {
    const entries = await this.etcd.list(leaseDirectory);
    const [entry, ...others] = entries.filter(({ value }) => value.includes(`"PublicIP":"${publicIp}"`));
    if (entry === undefined || others.length > 0)
      throw new Error(`${entry === undefined ? "no" : "several"} leases of ${publicIp}`);
    return entry;
  }

  /** No agents, no keys, no devices, no files: the next test begins on fresh machines. */
  async clear(): Promise<void> {
    for (const agent of this.#agents) await agent[Symbol.asyncDispose]();
    this.#agents.clear();
    await this.etcd.ctl(["del", "--prefix", "/"]);
    for (const { namespace, runDirectory } of this.lan.hosts) {
      const links = await namespace.ipJson("link", "show");
      const ours = links.map(({ ifname }) => String(ifname)).filter((name) => name.startsWith("flannel"));
      await namespace.ipBatch(ours.map((name) => `link del dev ${name}`));
      await rm(runDirectory, { recursive: true, force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.#agents) await agent[Symbol.asyncDispose]();
    await this.etcd[Symbol.asyncDispose]();
    await this.lan[Symbol.asyncDispose]();
  }
}

/** One answer of an agent's health checks, from the LAN. */
export async function probeHealth(
  host: LabHost,
  port: number,
  path: string,
): Promise<{ readonly status: number; readonly text: string }> {
  const answer = await fetch(`http://${host.ipv4}:${port}${path}`, { headers: { connection: "close" } });
  return { status: answer.status, text: await answer.text() };
}
