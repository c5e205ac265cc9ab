// From exec of the launcher to the READY=1 that a service manager waits for, with one peer; and the memory just after it,
// also without a peer and with many.
import { setTimeout as sleep } from "node:timers/promises";
import type { Etcd } from "../lab/etcd.ts";
import type { LabHost } from "../lab/host.ts";
import { ServiceManager } from "../lab/service-manager.ts";
import type { BenchSet, Figure } from "./bench-set.ts";
import { medianFigure } from "./bench-set.ts";
import { requirePeerObjects } from "./peer-objects.ts";
import { peers, writePeers } from "./peers.ts";
import { BenchAgent, createWorld, timeBareNode } from "./world.ts";

/** The times are those with one peer. */
const TIMED_PEERS = 1;
/** With so many peers resident memory is read: none, one, many. */
const peerCounts = [0, TIMED_PEERS, 10_000] as const;
const notifySocket = "/run/notify";
/** The agent gives back what its start needed in the turn after READY=1. */
const TRIMMED_AFTER_MS = 250;

export const readySet: BenchSet = {
  name: "ready",
  title:
    "from exec of the launcher to READY=1, one peer, warm file cache; memory just after it, for 0, 1 and 10,000 peers",
  async run({ rounds, progress }) {
    await using world = await createWorld(1);
    const host = world.lan.host(1);
    for (const count of peerCounts) await writePeers(world.etcd.endpoints, prefixOf(count), count);
    const samples = { bareNode: [] as number[], first: [] as number[], restart: [] as number[] };
    const residentMb = new Map(peerCounts.map((count) => [count, [] as number[]]));
    // Round 0 warms the file cache.
    for (let round = 0; round <= rounds; round++) {
      progress(round === 0 ? "warming the file cache" : `round ${round} of ${rounds}`);
      const bareNode = await timeBareNode(host);
      const { firstMs, restartMs } = await timeStarts(host, world.etcd);
      for (const [count, megabytes] of residentMb) {
        const resident = await residentMbOfFirstStart(host, world.etcd, count);
        if (round > 0) megabytes.push(resident);
      }
      if (round === 0) continue;
      samples.bareNode.push(bareNode);
      samples.first.push(firstMs);
      samples.restart.push(restartMs);
    }
    return {
      figures: [
        medianFigure({ name: "node -e 0", unit: "ms" }, samples.bareNode),
        medianFigure({ name: "first start on a host", unit: "ms", atMost: 400 }, samples.first),
        medianFigure({ name: "restart: device, lease and files are there", unit: "ms", atMost: 400 }, samples.restart),
        ...[...residentMb].map(([count, megabytes]) => residentFigure(count, megabytes)),
      ],
      notes: [],
    };
  },
};

function prefixOf(peerCount: number): string {
  return `/ready-${peerCount}`;
}

function residentFigure(peerCount: number, megabytes: readonly number[]): Figure {
  const name = `resident just after READY=1, peers: ${peerCount.toLocaleString("en")}`;
  return medianFigure({ name, unit: "MB", ...(peerCount === TIMED_PEERS && { atMost: 63 }) }, megabytes);
}

/** A start on a host that never had an agent, and, after kill -9, one that finds all as it was. */
async function timeStarts(host: LabHost, etcd: Etcd) {
  const first = await timeStart(host, etcd, TIMED_PEERS);
  await first.agent.agent.kill9();
  const restart = await timeStart(host, etcd, TIMED_PEERS);
  await using _agent = restart.agent;
  await requirePeerObjects(host.namespace, peers(TIMED_PEERS));
  return { firstMs: first.tookMs, restartMs: restart.tookMs };
}

async function residentMbOfFirstStart(host: LabHost, etcd: Etcd, peerCount: number): Promise<number> {
  const { agent } = await timeStart(host, etcd, peerCount);
  await using _agent = agent;
  await sleep(TRIMMED_AFTER_MS);
  return (await agent.agent.residentBytes()) / 1e6;
}

async function timeStart(
  host: LabHost,
  etcd: Etcd,
  peerCount: number,
): Promise<{ readonly agent: BenchAgent; readonly tookMs: number }> {
  await using manager = await ServiceManager.start(notifySocket);
  const startedMs = performance.now();
  const agent = BenchAgent.start(host, etcd, prefixOf(peerCount), { NOTIFY_SOCKET: notifySocket });
  try {
    return { agent, tookMs: (await manager.untilNotified("READY=1")) - startedMs };
  } catch (error) {
    await agent[Symbol.asyncDispose]();
    throw new Error(`no READY=1; the agent's words:\n${agent.agent.output}`, { cause: error });
  }
}
