// The embedded store beside a real etcd: same client, same disk, both syncing, turn by turn in one run.
import { mkdtemp, open, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tryRun } from "../lab/command.ts";
import { EmbeddedStore } from "../lab/embedded-store.ts";
import { Etcd } from "../lab/etcd.ts";
import { EtcdConnection } from "../src/store/etcd/etcd-connection.ts";
import { Compare, PutRequest, RangeRequest, TxnRequest } from "../src/store/etcd/protocol/etcd.ts";
import { methods } from "../src/store/etcd/rpc.ts";
import { type BenchSet, type Figure, medianFigure, percentileFigure } from "./bench-set.ts";
import { WatcherCrowd } from "./watcher-crowd.ts";

const SEQUENTIAL = 200;
const CONCURRENT = 2_000;
const IN_FLIGHT = 64;
const KEYS = 10_000;
const READS = 5;
const WATCHED_PUTS = 100;
const LEASES = 10_000;
const WRITES = 100_000;
const never = new AbortController().signal;
const value = Buffer.alloc(140, 120);

/** One of the two servers under measurement. */
interface Contender {
  readonly name: string;
  readonly endpoints: string;
  /** What its command line contains. */
  readonly program: string;
  readonly samples: Map<string, number[]>;
}

export const storeSet: BenchSet = {
  name: "store",
  title: "the embedded store and etcd, both syncing to the same disk",
  async run({ rounds, progress }) {
    await using etcd = await Etcd.start({ members: [{ port: 12_379 }], args: ["--unsafe-no-fsync=false"] });
    await using embedded = await EmbeddedStore.start("127.0.0.1");
    const contenders = [
      { name: "etcd", endpoints: etcd.endpoints, program: "12379", samples: new Map<string, number[]>() },
      {
        name: "embedded",
        endpoints: embedded.endpoints,
        program: "flannel-store.mjs",
        samples: new Map<string, number[]>(),
      },
    ];
    // First of all: what was done before leaves its traces in the memory of both.
    for (const contender of contenders) {
      progress(`${contender.name}: memory with ${LEASES} leases and after ${WRITES} writes`);
      await measureMemory(contender);
    }
    for (let round = 1; round <= rounds; round++) {
      for (const contender of contenders) {
        progress(`round ${round} of ${rounds}: ${contender.name}`);
        await measureRound(contender);
      }
    }
    for (const contender of contenders) {
      progress(`${contender.name}: etcdctl check perf, a minute`);
      record(contender, "etcdctl check perf", [await checkPerf(contender)]);
    }
    const syncMs = await measureSync();
    return { figures: contenders.flatMap(figuresOf), notes: [...ratios(contenders), syncNote(syncMs)] };
  },
};

async function measureRound(contender: Contender): Promise<void> {
  await using connection = await EtcdConnection.open({ endpoints: contender.endpoints });
  const put = (key: string) =>
    connection.call(methods.put, PutRequest.fromPartial({ key: Buffer.from(key), value }), "put", never);
  const create = (key: string) => {
    const success = [{ requestPut: { key: Buffer.from(key), value } }];
    const compare = [Compare.fromPartial({ key: Buffer.from(key), target: 0, version: 0n })];
    return connection.call(methods.txn, TxnRequest.fromPartial({ compare, success }), "txn", never);
  };
  const fresh = `txn/${performance.now()}/`;
  record(contender, "sequential puts", [await perSecond(SEQUENTIAL, 1, (index) => put(`seq/${index}`))]);
  record(contender, "sequential transactions", [
    await perSecond(SEQUENTIAL, 1, (index) => create(`${fresh}s${index}`)),
  ]);
  record(contender, "concurrent puts", [await perSecond(CONCURRENT, IN_FLIGHT, (index) => put(`con/${index}`))]);
  record(contender, "concurrent transactions", [
    await perSecond(CONCURRENT, IN_FLIGHT, (index) => create(`${fresh}c${index}`)),
  ]);
  await perSecond(KEYS, IN_FLIGHT, (index) => put(`read/${index}`));
  const range = RangeRequest.fromPartial({ key: Buffer.from("read/"), rangeEnd: Buffer.from("read0") });
  for (let read = 0; read < READS; read++) {
    const startMs = performance.now();
    const { kvs } = await connection.call(methods.range, range, "read", never);
    if (kvs.length !== KEYS) throw new Error(`${contender.name}: ${kvs.length} keys, not ${KEYS}`);
    record(contender, `read of ${KEYS} keys`, [performance.now() - startMs]);
  }
  for (const crowd of [
    { connections: 1, each: 1 },
    { connections: 10, each: 100 },
  ]) {
    await using watchers = await WatcherCrowd.open(contender.endpoints, crowd);
    const samples = await watchers.latencies(WATCHED_PUTS, () => put("watched"));
    record(contender, `watch latency, ${crowd.connections * crowd.each} watchers`, samples);
  }
}

/** Calls each second, `inFlight` at a time. */
async function perSecond(count: number, inFlight: number, call: (index: number) => Promise<unknown>): Promise<number> {
  const indexes = Array.from({ length: count }, (_, index) => index).values();
  const worker = async () => {
    for (const index of indexes) await call(index);
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: inFlight }, worker));
  return (count * 1_000) / (performance.now() - startMs);
}

/** Writes each second that 50 Go clients get through who try 8,000. */
async function checkPerf({ endpoints, name }: Contender): Promise<number> {
  const argv = ["etcdctl", `--endpoints=${endpoints}`, "check", "perf", "--load=l"];
  const { stdout } = await tryRun(argv, { env: { ETCDCTL_API: "3" }, timeoutMs: 120_000 });
  const throughput = /(\d+) writes\/s/.exec(stdout)?.[1];
  if (throughput === undefined)
    throw new Error(`${name}: check perf said nothing of its throughput: ${stdout.slice(-500)}`);
  return Number(throughput);
}

async function measureMemory(contender: Contender): Promise<void> {
  await using connection = await EtcdConnection.open({ endpoints: contender.endpoints });
  const grant = { ttl: 86_400n, id: 0n };
  await perSecond(LEASES, IN_FLIGHT, () => connection.call(methods.leaseGrant, grant, "grant", never));
  record(contender, `memory with ${LEASES} leases`, [await residentMegabytes(contender)]);
  const put = (index: number) =>
    connection.call(
      methods.put,
      PutRequest.fromPartial({ key: Buffer.from(`m/${index % KEYS}`), value }),
      "put",
      never,
    );
  await perSecond(WRITES, IN_FLIGHT, put);
  record(contender, `memory after ${WRITES} writes more`, [await residentMegabytes(contender)]);
}

async function residentMegabytes({ program }: Contender): Promise<number> {
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const argv = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (!argv.includes(program)) continue;
    const status = await readFile(`/proc/${pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  }
  throw new Error(`no process ${program}`);
}

/** Milliseconds of an append of 4 KiB and its sync. */
async function measureSync(): Promise<number[]> {
  const directory = await mkdtemp(join(tmpdir(), "flannel-sync-"));
  const file = await open(join(directory, "file"), "a");
  const samples: number[] = [];
  try {
    for (let index = 0; index < 200; index++) {
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

function record({ samples }: Contender, name: string, values: readonly number[]): void {
  samples.set(name, [...(samples.get(name) ?? []), ...values]);
}

function figuresOf({ name: contender, samples }: Contender): Figure[] {
  return [...samples].flatMap(([name, values]) => {
    const labels = { name: `${contender}: ${name}`, unit: unitOf(name) };
    const median = medianFigure(labels, values);
    return name.startsWith("watch") ? [median, percentileFigure(labels, 99, values)] : [median];
  });
}

function unitOf(name: string): Figure["unit"] {
  if (name.startsWith("memory")) return "MB";
  return name.startsWith("read") || name.startsWith("watch") ? "ms" : "/s";
}

interface Target {
  readonly figure: string;
  readonly statistic?: "p99";
  /** Embedded divided by etcd. */
  readonly atLeast?: number;
  readonly atMost?: number;
}

const targets: readonly Target[] = [
  { figure: "sequential puts", atLeast: 0.7 },
  { figure: "sequential transactions", atLeast: 0.7 },
  { figure: "concurrent puts", atLeast: 0.6 },
  { figure: "concurrent transactions", atLeast: 0.6 },
  { figure: `read of ${KEYS} keys`, atMost: 1 / 0.6 },
  { figure: "watch latency, 1 watchers" },
  { figure: "watch latency, 1000 watchers", statistic: "p99", atMost: 3 },
  { figure: "etcdctl check perf", atLeast: 0.6 },
  { figure: `memory with ${LEASES} leases` },
  { figure: `memory after ${WRITES} writes more`, atMost: 1 },
];

function ratios(contenders: readonly Contender[]): string[] {
  const figures = contenders.map(figuresOf);
  return targets.map(({ figure, statistic = "median", atLeast, atMost }) => {
    const [etcd = Number.NaN, embedded = Number.NaN] = figures.map(
      (all) => all.find((each) => each.name.endsWith(`: ${figure}`) && each.statistic === statistic)?.value,
    );
    const ratio = embedded / etcd;
    const isGood = ratio >= (atLeast ?? 0) && ratio <= (atMost ?? Number.POSITIVE_INFINITY);
    const target = atLeast !== undefined ? `≥ ${atLeast}` : atMost !== undefined ? `≤ ${atMost.toFixed(2)}` : "none";
    return `embedded ÷ etcd, ${figure} (${statistic}): ${ratio.toFixed(2)} (target ${target}) ${isGood ? "ok" : "MISSED"}`;
  });
}

function syncNote(samples: readonly number[]): string {
  const { value: median } = medianFigure({ name: "", unit: "ms" }, samples);
  const { value: worst } = percentileFigure({ name: "", unit: "ms" }, 99, samples);
  return `A write of 4 KiB and its sync on this disk: median ${median.toFixed(2)} ms, p99 ${worst.toFixed(2)} ms.`;
}
