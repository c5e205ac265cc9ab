// The small world every set works in: a LAN with some hosts, an etcd, and agents started on them.

import { rm } from "node:fs/promises";
import { LabAgent } from "../lab/agent.ts";
import { run } from "../lab/command.ts";
import { Etcd } from "../lab/etcd.ts";
import type { LabHost } from "../lab/host.ts";
import { createLan, type Lan } from "../lab/lan.ts";
import { vxlanDevice } from "./peer-objects.ts";

export interface World extends AsyncDisposable {
  readonly lan: Lan;
  readonly etcd: Etcd;
}

/** etcd's data is in memory. */
export async function createWorld(hosts: number): Promise<World> {
  await using cleanup = new AsyncDisposableStack();
  const lan = cleanup.use(await createLan({ hosts }));
  const etcd = cleanup.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  const disposer = cleanup.move();
  return { lan, etcd, [Symbol.asyncDispose]: () => disposer.disposeAsync() };
}

/** One agent's life on a host. Disposing kills it and leaves the host and the store as if it had never been. */
export class BenchAgent implements AsyncDisposable {
  readonly agent: LabAgent;
  readonly #etcd: Etcd;
  readonly #prefix: string;
  readonly #startedAtEpochMs: number;

  private constructor(agent: LabAgent, startedAtEpochMs: number, etcd: Etcd, prefix: string) {
    this.agent = agent;
    this.#startedAtEpochMs = startedAtEpochMs;
    this.#etcd = etcd;
    this.#prefix = prefix;
  }

  /** `program`: instead of the launcher. */
  static start(
    host: LabHost,
    etcd: Etcd,
    prefix: string,
    env: Readonly<Record<string, string>> = {},
    program?: readonly string[],
  ): BenchAgent {
    const startedAtEpochMs = performance.timeOrigin + performance.now();
    const args = [`--etcd-prefix=${prefix}`, "--log-format=json"];
    const other = program === undefined ? {} : { program };
    const agent = LabAgent.start(host, { etcdEndpoints: etcd.endpoints, args, env, ...other });
    return new BenchAgent(agent, startedAtEpochMs, etcd, prefix);
  }

  /** Milliseconds from the start of the process to the agent's own log line `event`, which carries milliseconds. */
  async msToEvent(event: string): Promise<number> {
    const line = await this.agent.untilEvent(event, { timeoutMs: 60_000 });
    return Date.parse(logLine(line).time) - this.#startedAtEpochMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    const acquired = this.agent.events("lease.acquired").at(-1);
    if (acquired !== undefined) await this.#etcd.delete(`${this.#prefix}/subnets/${logLine(acquired).key}`);
    const { host, directory } = this.agent;
    for (const device of [vxlanDevice, "flannel-wg"]) await host.namespace.tryRun(["ip", "link", "del", "dev", device]);
    await rm(directory, { recursive: true, force: true });
  }
}

interface LogLine {
  readonly time: string;
  readonly key: string;
}

function logLine(text: string): LogLine {
  return JSON.parse(text) as LogLine;
}

/** Milliseconds that Node needs to start and end, as the agent is started: in the host's namespace. */
export async function timeBareNode(host: LabHost): Promise<number> {
  const startedMs = performance.now();
  await run(host.namespace.command([process.execPath, "-e", "0"]));
  return performance.now() - startedMs;
}
