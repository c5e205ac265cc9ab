// Convergence: from a lease that is written until the kernels of all hosts have the peer, over the number of hosts and the
// rate of changes. Real agents, as many as the machine can run at once; the other hosts are leases without a machine.
import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../lab/wait.ts";
import { EtcdConnection } from "../src/store/etcd/etcd-connection.ts";
import { deleteIf, putIf } from "../src/store/etcd/operations.ts";
import type { BenchContext, BenchSet, Figure } from "./bench-set.ts";
import { percentileFigure } from "./bench-set.ts";
import { requirePeerObjects } from "./peer-objects.ts";
import { leaseKey, leaseValue, type Peer, peer, peers, writePeers } from "./peers.ts";
import { RouteWitness } from "./route-witness.ts";
import { BenchAgent, createWorld, type World } from "./world.ts";

const SIZES = [10, 30, 100, 300, 1_000];
/** Changes a second, and how many of them are measured. */
const RATES = [
  { perSecond: 1, changes: 20 },
  { perSecond: 5, changes: 75 },
  { perSecond: 20, changes: 200 },
];
/** Each needs a share of a processor for each change, as it would not on a host of its own. */
const AGENTS_PER_CORE = 8;
/** A host that came goes again after this many further changes, and not before all have seen it. */
const STAY_CHANGES = 20;
const LOST_AFTER_MS = 30_000;

/** The agents lease from the end of the network, where no made-up host is. */
const config = JSON.stringify({
  ...{ Network: "10.0.0.0/8", SubnetLen: 24, SubnetMin: "10.250.0.0", SubnetMax: "10.254.0.0" },
  Backend: { Type: "vxlan" },
});

export const convergenceSet: BenchSet = {
  name: "convergence",
  title: "from a lease that is written to the kernels of all hosts",
  async run(context) {
    const agents = Math.min(Math.max(...SIZES), AGENTS_PER_CORE * availableParallelism());
    await using world = await createWorld(agents);
    await using witness = await RouteWitness.start();
    const figures: Figure[] = [];
    for (const size of context.sizes ?? SIZES) figures.push(...(await measureSize(world, witness, size, context)));
    return {
      figures,
      notes: [
        `Up to ${agents} real agents; they share the machine's processors. All other hosts are leases without a machine.`,
        "A change: one host comes, and one that came earlier goes. Times begin before the write is sent.",
      ],
    };
  },
};

async function measureSize(
  world: World,
  witness: RouteWitness,
  size: number,
  { progress }: BenchContext,
): Promise<Figure[]> {
  const prefix = `/convergence-${size}`;
  const { endpoints } = world.etcd;
  const hosts = world.lan.hosts.slice(0, Math.min(size, world.lan.hosts.length));
  const madeUp = size - hosts.length;
  await writePeers(endpoints, prefix, madeUp, { config, leaseOf: leaseValue });
  progress(`${size} hosts, ${hosts.length} of them with an agent`);
  await using agents = new AsyncDisposableStack();
  // Probes of hosts without a machine would be the work that is measured.
  const start = (host: (typeof hosts)[number]) =>
    agents.use(BenchAgent.start(host, world.etcd, prefix, { FLANNELD_PROBE_INTERVAL: "0" }));
  await Promise.all(hosts.map((host) => start(host).msToEvent("agent.ready")));
  await using connection = await EtcdConnection.open({ endpoints });
  const figures: Figure[] = [];
  let next = madeUp;
  for (const { perSecond, changes } of RATES) {
    progress(`${size} hosts, ${perSecond} changes a second`);
    const comers = Array.from({ length: changes }, (_, index) => peer(next + index));
    next += changes;
    const times = await change({ connection, prefix, witness, hosts: hosts.length }, comers, perSecond);
    const name = (what: string) => `${size} hosts, ${perSecond}/s: ${what}`;
    for (const percent of [50, 99]) {
      figures.push(percentileFigure({ name: name("until all have it"), unit: "ms" }, percent, times.all));
      figures.push(percentileFigure({ name: name("until one has it"), unit: "ms" }, percent, times.each));
    }
  }
  // The comers have gone again, at the latest a moment after their leases.
  const isComplete = async () => {
    for (const { namespace } of hosts) await requirePeerObjects(namespace, peers(madeUp), hosts.length - 1);
    return true;
  };
  await until(isComplete, { what: "the peers' objects on every host" });
  return figures;
}

interface Changing {
  readonly connection: EtcdConnection;
  readonly prefix: string;
  readonly witness: RouteWitness;
  /** How many of them have an agent. */
  readonly hosts: number;
}

/** In ms: until the last agent had each comer, and until each single agent had it. */
interface Times {
  readonly all: number[];
  readonly each: number[];
}

async function change(changing: Changing, comers: readonly Peer[], perSecond: number): Promise<Times> {
  const { signal } = new AbortController();
  const everyMs = 1_000 / perSecond;
  const present: { key: string; revision: bigint; isSeen: boolean }[] = [];
  const leaveFrom = async (most: number) => {
    while (present.length > most && present[0]?.isSeen === true) {
      const [{ key, revision }] = present.splice(0, 1) as [(typeof present)[number]];
      await deleteIf(changing.connection, { key, expectedRevision: revision, operation: "delete a lease" }, signal);
    }
  };
  const seen: Promise<{ startedMs: number; atMs: readonly number[] }>[] = [];
  const firstMs = performance.now();
  for (const [index, comer] of comers.entries()) {
    await sleep(Math.max(0, firstMs + index * everyMs - performance.now()));
    const programmed = changing.witness.expect(comer.subnet, changing.hosts);
    const startedMs = performance.timeOrigin + performance.now();
    const key = `${changing.prefix}/subnets/${leaseKey(comer)}`;
    const put = { key, value: leaseValue(comer), storeLeaseId: 0n, expectedRevision: 0n, operation: "write a lease" };
    const written = await putIf(changing.connection, put, signal);
    if (!written.isDone) throw new Error(`${key} is there already`);
    const entry = { key, revision: written.revision, isSeen: false };
    present.push(entry);
    const times = orLost(programmed, comer.subnet).then((atMs) => {
      entry.isSeen = true;
      return { startedMs, atMs };
    });
    times.catch(() => undefined);
    seen.push(times);
    await leaveFrom(STAY_CHANGES);
  }
  const samples = await Promise.all(seen);
  await leaveFrom(0);
  return {
    all: samples.map(({ startedMs, atMs }) => Math.max(...atMs) - startedMs),
    each: samples.flatMap(({ startedMs, atMs }) => atMs.map((ms) => ms - startedMs)),
  };
}

async function orLost<T>(promise: Promise<T>, subnet: string): Promise<T> {
  const timer = new AbortController();
  const lost = sleep(LOST_AFTER_MS, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`not all hosts have ${subnet}, ${LOST_AFTER_MS / 1_000} s after its lease was written`);
  });
  try {
    return await Promise.race([promise, lost]);
  } finally {
    timer.abort();
    lost.catch(() => undefined);
  }
}
