// The embedded store beside a real etcd: same clients, same disk, both syncing, each measurement of both in turn, and
// each round in the other order.
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmbeddedStore } from "../lab/embedded-store.ts";
import { Etcd } from "../lab/etcd.ts";
import { type BenchSet, type Figure, medianFigure, percentile, percentileFigure, type Unit } from "./bench-set.ts";
import { Contender, KEYS } from "./store-contender.ts";

const SEQUENTIAL = 300;
const CONCURRENT = 3_000;
const LEASES = 10_000;
const WRITES = 100_000;
const SYNCS = 100;
/** A minute each for either server. */
const MAX_CHECK_PERF = 3;

type Bound = Pick<Figure, "atMost" | "atLeast">;

/** What is measured on both; the bound is that of embedded ÷ etcd. */
interface Measurement {
  readonly name: string;
  readonly unit: Unit;
  readonly bound: Bound;
  readonly measure: (contender: Contender) => Promise<number[]>;
  /** Which number of a round's samples is compared; default 50. */
  readonly percent?: number;
}

/** Without a value there is no sample. */
const one = async (value: Promise<number | undefined>) => [await value].filter((found) => found !== undefined);
const oneWatcher = { connections: 1, each: 1 };
const crowd = { connections: 10, each: 100 };

const measurements: readonly Measurement[] = [
  {
    name: "sequential puts",
    unit: "/s",
    bound: { atLeast: 0.7 },
    measure: (contender) => one(contender.putsPerSecond(SEQUENTIAL, 1)),
  },
  {
    name: "sequential transactions",
    unit: "/s",
    bound: { atLeast: 0.7 },
    measure: (contender) => one(contender.transactionsPerSecond(SEQUENTIAL, 1)),
  },
  {
    name: "concurrent puts",
    unit: "/s",
    bound: { atLeast: 0.6 },
    measure: (contender) => one(contender.putsPerSecond(CONCURRENT)),
  },
  {
    name: "concurrent transactions",
    unit: "/s",
    bound: { atLeast: 0.6 },
    measure: (contender) => one(contender.transactionsPerSecond(CONCURRENT)),
  },
  {
    name: `keys read, ${KEYS} at once`,
    unit: "/s",
    bound: { atLeast: 0.6 },
    measure: (contender) => one(contender.readsPerSecond()),
  },
  { name: "watch latency, 1 watcher", unit: "ms", bound: {}, measure: (each) => each.watchLatencies(oneWatcher) },
  {
    name: "watch latency, 1,000 watchers",
    unit: "ms",
    bound: { atMost: 3 },
    measure: (each) => each.watchLatencies(crowd),
    percent: 99,
  },
];

const checkPerf: Measurement = {
  name: "etcdctl check perf",
  unit: "/s",
  bound: { atLeast: 0.6 },
  measure: (contender) => one(contender.checkPerf()),
};

/** Of one measurement: each contender's samples, round by round. */
type Samples = Map<Contender, number[][]>;

export const storeSet: BenchSet = {
  name: "store",
  title: "the embedded store and etcd, both syncing to the same disk",
  async run({ rounds, progress }) {
    const memory: Figure[] = [];
    // The second time to as many keys as writes: etcd keeps an index of all keys in memory, we do not.
    memory.push(...(await withBoth((contenders) => measureMemory(contenders, KEYS, progress))));
    memory.push(...(await withBoth((contenders) => measureMemory(contenders, WRITES, progress))));
    return await withBoth(async (contenders) => {
      for (const contender of contenders) await contender.prepare();
      const syncMs: number[] = [];
      const found = new Map<Measurement, Samples>();
      for (let round = 0; round < rounds; round++) {
        progress(`round ${round + 1} of ${rounds}`);
        syncMs.push(...(await measureSync()));
        for (const measurement of measurements) await measureBoth(measurement, contenders, round, found);
      }
      for (let round = 0; round < Math.min(rounds, MAX_CHECK_PERF); round++) {
        progress(`etcdctl check perf ${round + 1} of ${Math.min(rounds, MAX_CHECK_PERF)}, two minutes`);
        await measureBoth(checkPerf, contenders, round, found);
      }
      memory.push(...(await memoryFigures(contenders, "memory after all that")));
      return {
        figures: [...syncFigures(syncMs), ...[...found].flatMap(figuresOf), ...memory],
        notes: ["Ratios are medians of each round's own ratio: embedded ÷ etcd of the rates, and of the latencies."],
      };
    });
  },
};

/** Runs `work` with two new servers, etcd first. */
async function withBoth<T>(work: (contenders: readonly [Contender, Contender]) => Promise<T>): Promise<T> {
  // The directory of both: in a box, /run is in memory.
  const parent = tmpdir();
  await using etcd = await Etcd.start({ parent, members: [{ port: 12_379 }], args: ["--unsafe-no-fsync=false"] });
  await using embedded = await EmbeddedStore.start("127.0.0.1");
  const [{ pid } = { pid: 0 }] = etcd.members;
  await using etcdClient = await Contender.connect("etcd", { endpoints: etcd.endpoints, pid });
  await using embeddedClient = await Contender.connect("embedded", embedded);
  return await work([etcdClient, embeddedClient]);
}

async function measureBoth(
  measurement: Measurement,
  contenders: readonly Contender[],
  round: number,
  found: Map<Measurement, Samples>,
): Promise<void> {
  const samples: Samples = found.get(measurement) ?? new Map(contenders.map((contender) => [contender, []]));
  found.set(measurement, samples);
  const order = round % 2 === 0 ? contenders : contenders.toReversed();
  for (const contender of order) samples.get(contender)?.push(await measurement.measure(contender));
}

function figuresOf([{ name, unit, bound, percent = 50 }, samples]: [Measurement, Samples]): Figure[] {
  const plain = [...samples].flatMap(([contender, rounds]) => {
    const labels = { name: `${contender.name}: ${name}`, unit };
    const all = rounds.flat();
    return [medianFigure(labels, all), ...(unit === "ms" ? [percentileFigure(labels, 99, all)] : [])];
  });
  const [etcd = [], embedded = []] = [...samples.values()];
  const ratios = embedded
    .map((own, round) => percentile(own, percent) / percentile(etcd[round] ?? [], percent))
    .filter((ratio) => !Number.isNaN(ratio));
  const what = percent === 50 ? name : `${name}, p${percent}`;
  return [...plain, medianFigure({ name: `embedded ÷ etcd: ${what}`, unit: "×", ...bound }, ratios)];
}

/** On servers that have done nothing else: what was done before leaves its traces in the memory of both. */
async function measureMemory(
  contenders: readonly [Contender, Contender],
  keys: number,
  progress: (text: string) => void,
): Promise<Figure[]> {
  const hasLeases = keys < WRITES;
  const writes = `memory after ${WRITES} writes to ${keys} keys`;
  const figures: Figure[] = [];
  for (const contender of contenders) {
    const { name } = contender;
    progress(`${name}: ${writes}`);
    if (hasLeases) {
      await contender.grantLeases(LEASES);
      const bound = name === "embedded" ? { atMost: 120 } : {};
      const labels = { name: `${name}: memory with ${LEASES} leases`, unit: "MB" as const, ...bound };
      figures.push(medianFigure(labels, [await contender.residentMegabytes()]));
    }
    for (let done = 0; done < WRITES; done += keys) await contender.putsPerSecond(keys);
  }
  return [...figures, ...(await memoryFigures(contenders, writes))];
}

/** Both as they are now. */
async function memoryFigures(contenders: readonly [Contender, Contender], what: string): Promise<Figure[]> {
  const [etcd, embedded] = await Promise.all([contenders[0].residentMegabytes(), contenders[1].residentMegabytes()]);
  return [
    medianFigure({ name: `etcd: ${what}`, unit: "MB" }, [etcd]),
    medianFigure({ name: `embedded: ${what}`, unit: "MB" }, [embedded]),
    medianFigure({ name: `embedded ÷ etcd: ${what}`, unit: "×", atMost: 1 }, [embedded / etcd]),
  ];
}

/** Milliseconds of an append of 4 KiB and its sync. */
async function measureSync(): Promise<number[]> {
  const directory = await mkdtemp(join(tmpdir(), "flannel-sync-"));
  const file = await open(join(directory, "file"), "a");
  const samples: number[] = [];
  try {
    for (let index = 0; index < SYNCS; index++) {
      const startMs = performance.now();
      await file.write(Buffer.alloc(4_096));
      await file.datasync();
      samples.push(performance.now() - startMs);
    }
  } finally {
    await file.close();
    await rm(directory, { recursive: true });
  }
  return samples;
}

function syncFigures(samples: readonly number[]): Figure[] {
  const labels = { name: "the disk: 4 KiB written and synced", unit: "ms" as const };
  return [medianFigure(labels, samples), percentileFigure(labels, 99, samples)];
}
