// From exec of the launcher to the READY=1 that a service manager waits for, with one peer; and the memory just after it.
import { setTimeout as sleep } from "node:timers/promises";
import type { Etcd } from "../lab/etcd.ts";
import type { LabHost } from "../lab/host.ts";
import { ServiceManager } from "../lab/service-manager.ts";
import type { BenchSet } from "./bench-set.ts";
import { medianFigure } from "./bench-set.ts";
import { requirePeerObjects } from "./peer-objects.ts";
import { peers, writePeers } from "./peers.ts";
import { BenchAgent, createWorld, timeBareNode } from "./world.ts";

const prefix = "/ready";
const notifySocket = "/run/notify";
/** The agent gives back what its start needed in the turn after READY=1. */
const TRIMMED_AFTER_MS = 250;

export const readySet: BenchSet = {
  name: "ready",
  title: "from exec of the launcher to READY=1, one peer, warm file cache; memory just after it",
  async run({ rounds, progress }) {
    await using world = await createWorld(1);
    const host = world.lan.host(1);
    await writePeers(world.etcd.endpoints, prefix, 1);
    const samples = {
      bareNode: [] as number[],
      first: [] as number[],
      restart: [] as number[],
      residentMb: [] as number[],
    };
    // Round 0 warms the file cache.
    for (let round = 0; round <= rounds; round++) {
      progress(round === 0 ? "warming the file cache" : `round ${round} of ${rounds}`);
      const bareNode = await timeBareNode(host);
      const { firstMs, restartMs, residentMb } = await timeStarts(host, world.etcd);
      if (round === 0) continue;
      samples.bareNode.push(bareNode);
      samples.first.push(firstMs);
      samples.restart.push(restartMs);
      samples.residentMb.push(residentMb);
    }
    return {
      figures: [
        medianFigure({ name: "node -e 0", unit: "ms" }, samples.bareNode),
        medianFigure({ name: "first start on a host", unit: "ms", atMost: 400 }, samples.first),
        medianFigure({ name: "restart: device, lease and files are there", unit: "ms", atMost: 400 }, samples.restart),
        medianFigure({ name: "resident just after READY=1", unit: "MB", atMost: 63 }, samples.residentMb),
      ],
      notes: [],
    };
  },
};

/** A start on a host that never had an agent, and, after kill -9, one that finds all as it was. */
async function timeStarts(host: LabHost, etcd: Etcd) {
  const first = await timeStart(host, etcd);
  await sleep(TRIMMED_AFTER_MS);
  const residentMb = (await first.agent.agent.residentBytes()) / 1e6;
  await first.agent.agent.kill9();
  const restart = await timeStart(host, etcd);
  await using _agent = restart.agent;
  await requirePeerObjects(host.namespace, peers(1));
  return { firstMs: first.tookMs, restartMs: restart.tookMs, residentMb };
}

async function timeStart(host: LabHost, etcd: Etcd): Promise<{ readonly agent: BenchAgent; readonly tookMs: number }> {
  await using manager = await ServiceManager.start(notifySocket);
  const startedMs = performance.now();
  const agent = BenchAgent.start(host, etcd, prefix, { NOTIFY_SOCKET: notifySocket });
  try {
    return { agent, tookMs: (await manager.untilNotified("READY=1")) - startedMs };
  } catch (error) {
    await agent[Symbol.asyncDispose]();
    throw new Error(`no READY=1; the agent's words:\n${agent.agent.output}`, { cause: error });
  }
}
