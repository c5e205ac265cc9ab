// An agent with 10,000 leases at rest: resident memory, CPU time, and the longest turn of its event loop.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { LabAgent } from "../lab/agent.ts";
import type { Etcd } from "../lab/etcd.ts";
import type { LabHost } from "../lab/host.ts";
import { routes } from "../lab/kernel-view.ts";
import { until } from "../lab/wait.ts";
import type { BenchContext, BenchSet } from "./bench-set.ts";
import { longestFigure, medianFigure } from "./bench-set.ts";
import { cpuSeconds } from "./cpu-seconds.ts";
import { vxlanDevice } from "./peer-objects.ts";
import { leaseKey, leaseValue, peer, writePeers } from "./peers.ts";
import type { TurnReport } from "./turn-probe.ts";
import { BenchAgent, createWorld, type World } from "./world.ts";

const LEASES = 10_000;
const prefix = "/memory";
const SETTLE_SECONDS = 60;
/** Holds one audit of everything: a third comes every minute. */
const IDLE_SECONDS = 180;
/** Holds all three parts of an audit. */
const WATCHED_SECONDS = 182;
const turnProbe = fileURLToPath(new URL("turn-probe.ts", import.meta.url));

export const memorySet: BenchSet = {
  name: "memory",
  title: "an agent with 10,000 leases at rest",
  async run(context) {
    await using world = await createWorld(context.rounds);
    await writePeers(world.etcd.endpoints, prefix, LEASES);
    const resting = await measureResting(world, context);
    const turns = await measureTurns(world, context);
    const longest = (key: keyof TurnReport) => turns.map((report) => report[key]);
    return {
      figures: [
        medianFigure(
          { name: `resident after ${SETTLE_SECONDS} s`, unit: "MB", atMost: 130 },
          resting.map(({ residentMb }) => residentMb),
        ),
        medianFigure(
          { name: "resident, node at rest", unit: "MB" },
          resting.map(({ bareMb }) => bareMb),
        ),
        medianFigure(
          { name: `CPU over the next ${IDLE_SECONDS} s, of one core`, unit: "%", atMost: 0.2 },
          resting.map(({ cpuPercent }) => cpuPercent),
        ),
        longestFigure(
          { name: "CPU time of an event-loop turn, from start to ready", unit: "ms", atMost: 50 },
          longest("startMs"),
        ),
        longestFigure(
          { name: "CPU time of an event-loop turn, afterwards", unit: "ms", atMost: 50 },
          longest("restMs"),
        ),
        medianFigure({ name: "CPU time of loading, before the first turn", unit: "ms" }, longest("loadingMs")),
      ],
      notes: [
        "Resident memory and CPU: all rounds at once, one host each; the CPU time holds one or two thirds of an audit.",
        "A turn holds one or more tasks (callbacks), so no task is longer. Afterwards: a new lease, its removal, an audit.",
      ],
    };
  },
};

interface Resting {
  readonly residentMb: number;
  readonly bareMb: number;
  readonly cpuPercent: number;
}

/** The agents rest at the same time, so that rounds do not cost two minutes each. */
async function measureResting({ lan, etcd }: World, { rounds, progress }: BenchContext): Promise<readonly Resting[]> {
  await using agents = new AsyncDisposableStack();
  const measurements: Promise<Resting>[] = [];
  for (let round = 1; round <= rounds; round++) {
    progress(`at rest: starting agent ${round} of ${rounds}, then ${SETTLE_SECONDS + IDLE_SECONDS} s of rest`);
    const agent = agents.use(await startedAgent(lan.host(round), etcd, {}));
    const measurement = measureOneResting(agent);
    // Reported below, where all are awaited.
    measurement.catch(() => undefined);
    measurements.push(measurement);
  }
  return await Promise.all(measurements);
}

async function measureOneResting({ agent }: BenchAgent): Promise<Resting> {
  const { pid } = agent;
  await sleep(SETTLE_SECONDS * 1_000);
  const residentMb = (await agent.residentBytes()) / 1e6;
  const bareMb = await residentMbOfBareNode();
  const cpuBefore = await cpuSeconds(pid);
  const startedMs = performance.now();
  await sleep(IDLE_SECONDS * 1_000);
  const cpuPercent = ((await cpuSeconds(pid)) - cpuBefore) / ((performance.now() - startedMs) / 100_000);
  return { residentMb, bareMb, cpuPercent };
}

async function residentMbOfBareNode(): Promise<number> {
  const child = spawn(process.execPath, ["-e", "console.log(); setInterval(() => undefined, 1e6)"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    await once(child.stdout, "data");
    const status = await readFile(`/proc/${child.pid}/status`, "utf8");
    return (Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024) / 1e6;
  } finally {
    child.kill("SIGKILL");
  }
}

/** As above, all at once; each of them sees the new leases of all. */
async function measureTurns({ lan, etcd }: World, { rounds, progress }: BenchContext): Promise<readonly TurnReport[]> {
  await using agents = new AsyncDisposableStack();
  const measurements: Promise<TurnReport>[] = [];
  for (let round = 1; round <= rounds; round++) {
    progress(`event loop: starting agent ${round} of ${rounds}, then ${WATCHED_SECONDS} s of watching`);
    const file = `/run/turns-${round}.json`;
    const env = { FLANNEL_NODE_OPTIONS: `--import=${turnProbe}`, TURN_PROBE_FILE: file };
    const { agent } = agents.use(await startedAgent(lan.host(round), etcd, env));
    agent.signal("SIGUSR2");
    await comeAndGo(agent, etcd);
    const measurement = (async () => {
      await sleep(WATCHED_SECONDS * 1_000);
      await agent.term();
      return JSON.parse(await readFile(file, "utf8")) as TurnReport;
    })();
    measurement.catch(() => undefined);
    measurements.push(measurement);
  }
  return await Promise.all(measurements);
}

async function startedAgent(host: LabHost, etcd: Etcd, env: Readonly<Record<string, string>>): Promise<BenchAgent> {
  const agent = BenchAgent.start(host, etcd, prefix, env);
  await agent.msToEvent("agent.ready");
  return agent;
}

/** One more peer, and one less. */
async function comeAndGo(agent: LabAgent, etcd: Etcd): Promise<void> {
  const key = `${prefix}/subnets/${leaseKey(peer(LEASES))}`;
  const before = await routeCount(agent.host);
  await etcd.put(key, leaseValue(peer(LEASES)));
  await untilRoutes(agent.host, before + 1);
  await etcd.delete(key);
  await untilRoutes(agent.host, before);
}

/** By the kernel's routes: asking the agent would be work for its event loop. */
async function untilRoutes(host: LabHost, count: number): Promise<void> {
  await until(async () => (await routeCount(host)) === count, { what: `${count} routes` });
}

async function routeCount({ namespace }: LabHost): Promise<number> {
  return (await routes(namespace, "dev", vxlanDevice)).length;
}
