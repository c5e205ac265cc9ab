// From the start of the process to all peers programmed: launcher, Node, bundle, etcd, lease, device, kernel objects.
import type { LabHost } from "../lab/host.ts";
import type { BenchSet, Figure } from "./bench-set.ts";
import { medianFigure } from "./bench-set.ts";
import { requirePeerObjects, timeIproute } from "./peer-objects.ts";
import { peers, writePeers } from "./peers.ts";
import { describeStarts, type MeasuredStart, runQueueTimes } from "./run-queue.ts";
import { BenchAgent, createWorld, timeBareNode, type World } from "./world.ts";

const targetsMs: ReadonlyMap<number, number> = new Map([
  [1_000, 500],
  [10_000, 1_500],
  [50_000, 6_000],
]);
const defaultSizes = [100, 1_000, 5_000, 10_000, 50_000];

interface Samples {
  readonly agent: MeasuredStart[];
  readonly iproute: number[];
}

export const startSet: BenchSet = {
  name: "start",
  title: "from process start to all peers programmed",
  async run(context) {
    const sizes = context.sizes ?? defaultSizes;
    await using world = await createWorld(2);
    const samples = new Map<number, Samples>();
    for (const size of sizes) {
      await writePeers(world.etcd.endpoints, prefixOf(size), size);
      samples.set(size, { agent: [], iproute: [] });
    }
    const bareNode: number[] = [];
    for (let round = 1; round <= context.rounds; round++) {
      context.progress(`round ${round} of ${context.rounds}`);
      bareNode.push(await timeBareNode(world.lan.host(1)));
      for (const [size, { agent, iproute }] of samples) {
        agent.push(await timeAgent(world, size));
        iproute.push(await timeIproute(world.lan.host(2), peers(size)));
      }
    }
    const notes = [...samples].map(([size, { agent }]) => describeStarts(leasesOf(size), agent));
    return { figures: figuresOf(samples, bareNode), notes: [...notes, iprouteNote] };
  },
};

const iprouteNote =
  "iproute2: ip -batch and bridge -batch of the same objects, in the same forms: plain routes up to 1,000, next-hop\n" +
  "objects beyond (50,000 plain ones take the kernel 87 s). It reads no store and makes no lease.";

function leasesOf(size: number): string {
  return `${size.toLocaleString("en")} leases`;
}

function prefixOf(size: number): string {
  return `/start/${size}`;
}

async function timeAgent({ lan, etcd }: World, size: number): Promise<MeasuredStart> {
  const host: LabHost = lan.host(1);
  await using agent = BenchAgent.start(host, etcd, prefixOf(size));
  const tookMs = await agent.msToEvent("agent.ready");
  const times = await runQueueTimes(agent.agent.pid);
  await requirePeerObjects(host.namespace, peers(size));
  return { tookMs, ...times };
}

function figuresOf(samples: ReadonlyMap<number, Samples>, bareNode: readonly number[]): readonly Figure[] {
  const figures = [medianFigure({ name: "node -e 0", unit: "ms" }, bareNode)];
  for (const [size, { agent, iproute }] of samples) {
    const atMost = targetsMs.get(size);
    figures.push(
      medianFigure(
        { name: leasesOf(size), unit: "ms", ...(atMost !== undefined && { atMost }) },
        agent.map(({ tookMs }) => tookMs),
      ),
      medianFigure({ name: `${size.toLocaleString("en")} with iproute2`, unit: "ms" }, iproute),
    );
  }
  return figures;
}
