// The udp backend beside a one-packet proxy in C, the kernel's vxlan and plain routing, all between the same containers,
// in turn within each round; once over veth as it is, once with every frame cut singly.
import type { Namespace } from "../lab/namespace.ts";
import { longestGapMs, receivedPerSecond, roundTrips, startEcho } from "../lab/packet-probe.ts";
import { type BenchSet, type Figure, medianFigure, percentile, type Unit } from "./bench-set.ts";
import {
  cpuSeconds,
  createUdpWorld,
  type Path,
  residentMb,
  startServer,
  type UdpWorld,
  type Way,
  ways,
} from "./udp-world.ts";

const SECONDS = 2;
const MADE_UP_PEERS = 10_000;

interface Sample {
  readonly tcp1: number;
  readonly tcp4: number;
  readonly cpuPerGbit: number;
  readonly kpps: number;
  /** Round trips in µs: one after the other, with pauses between them, beside a bulk stream. */
  readonly closeUs: readonly number[];
  readonly spacedUs: readonly number[];
  readonly busyUs: readonly number[];
}

type Samples = Map<Way, Sample[]>;

export const udpSet: BenchSet = {
  name: "udp",
  title: "throughput, packet rate, round trips and CPU of the udp backend",
  async run({ rounds, progress }) {
    await using world = await createUdpWorld(MADE_UP_PEERS);
    using _server = await startServer(world.to);
    await using _echo = await startEcho(world.to);
    const figures: Figure[] = [];
    for (const isCut of [false, true]) {
      await world.setWire(isCut);
      const samples: Samples = new Map(ways.map((way) => [way, []]));
      for (let round = 1; round <= rounds; round++) {
        progress(`${isCut ? "wire" : "veth"}: round ${round} of ${rounds}`);
        // Another order each time: nobody is to profit from its neighbour.
        const order = [...ways.slice(round % ways.length), ...ways.slice(0, round % ways.length)];
        for (const way of order) samples.get(way)?.push(await measure(world, pathOf(world, way)));
      }
      figures.push(...figuresOf(isCut ? "wire" : "veth", samples));
    }
    figures.push(await memoryFigure(world));
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      progress(`restart after ${signal}`);
      figures.push(await restartFigure(world, signal, rounds));
    }
    return { figures, notes };
  },
};

const notes = [
  "one packet: a proxy in C that moves one packet per system call. wire: segmentation offloads of the veth off.",
  "Ratios are medians of each round's own ratio. CPU: both iperf3 and the processes that carry the packets.",
  "Round trips: UDP, 64 bytes, one after the other; paused: 3 ms between them; under bulk: the same beside a TCP stream.",
];

function pathOf({ paths }: UdpWorld, way: Way): Path {
  const path = paths.get(way);
  if (path === undefined) throw new Error(`there is no way ${way}`);
  return path;
}

async function measure({ from, to }: UdpWorld, { target, pids }: Path): Promise<Sample> {
  const before = await cpuSeconds(pids);
  const one = await iperf(from, target, []);
  const cpu = (await cpuSeconds(pids)) - before + one.cpuSeconds;
  const four = await iperf(from, target, ["-P", "4"]);
  const small = await receivedPerSecond(from, to, target, { bytes: 100, seconds: SECONDS });
  const closeUs = await roundTrips(from, target, { count: 5_000, pauseUs: 0 });
  const spacedUs = await roundTrips(from, target, { count: 300, pauseUs: 3_000 });
  const bulk = iperf(from, target, []);
  const busyUs = await roundTrips(from, target, { count: 500, pauseUs: 3_000 });
  await bulk;
  return {
    tcp1: one.gbits / one.seconds,
    tcp4: four.gbits / four.seconds,
    cpuPerGbit: cpu / one.gbits,
    kpps: small / 1_000,
    closeUs,
    spacedUs,
    busyUs,
  };
}

interface IperfReport {
  readonly error?: string;
  readonly end: {
    readonly sum_received?: { readonly bytes: number; readonly seconds: number };
    readonly cpu_utilization_percent: { readonly host_total: number; readonly remote_total: number };
  };
}

async function iperf(from: Namespace, target: string, options: readonly string[]) {
  const argv = ["iperf3", "-c", target, "-t", String(SECONDS), "--json", ...options];
  const report = JSON.parse(await from.run(argv, { timeoutMs: 30_000 })) as IperfReport;
  if (report.error !== undefined) throw new Error(`iperf3 to ${target}: ${report.error}`);
  const { sum_received: received, cpu_utilization_percent: cpu } = report.end;
  const seconds = received?.seconds ?? SECONDS;
  return {
    seconds,
    gbits: ((received?.bytes ?? 0) * 8) / 1e9,
    cpuSeconds: ((cpu.host_total + cpu.remote_total) / 100) * seconds,
  };
}

function figuresOf(set: string, samples: Samples): readonly Figure[] {
  const of = (way: Way, read: (sample: Sample) => number) => (samples.get(way) ?? []).map(read);
  const plain = (what: string, unit: Unit, read: (sample: Sample) => number) =>
    ways.map((way) => medianFigure({ name: `${set} ${what}: ${way}`, unit }, of(way, read)));
  const ratio = (way: Way, to: Way, what: string, read: (sample: Sample) => number, bound: Bound) => {
    const against = of(to, read);
    const ratios = of(way, read).map((value, round) => value / (against[round] ?? Number.NaN));
    return medianFigure({ name: `${set} ${what}: ${way} / ${to}`, unit: "×", ...bound }, ratios);
  };
  const isWire = set === "wire";
  const p99 = (list: readonly number[]) => percentile(list, 99);
  const p50 = (list: readonly number[]) => percentile(list, 50);
  const figures = [
    ...plain("TCP, 1 stream", "Gbit/s", ({ tcp1 }) => tcp1),
    ratio("udp", "one packet", "TCP, 1 stream", ({ tcp1 }) => tcp1, { atLeast: isWire ? 8 : 10 }),
    ratio("udp", "vxlan", "TCP, 1 stream", ({ tcp1 }) => tcp1, { atLeast: isWire ? 1 : 0.8 }),
    ...plain("TCP, 4 streams", "Gbit/s", ({ tcp4 }) => tcp4),
    ratio("udp", "one packet", "TCP, 4 streams", ({ tcp4 }) => tcp4, { atLeast: isWire ? 6 : 9 }),
    ratio("udp", "vxlan", "TCP, 4 streams", ({ tcp4 }) => tcp4, { atLeast: isWire ? 0.7 : 0.4 }),
    ...plain("CPU", "CPU s/Gbit", ({ cpuPerGbit }) => cpuPerGbit),
    ratio("udp", "one packet", "CPU", ({ cpuPerGbit }) => cpuPerGbit, { atMost: isWire ? 0.13 : 0.1 }),
    ratio("many peers", "udp", "TCP, 1 stream", ({ tcp1 }) => tcp1, { atLeast: 0.97 }),
    ratio("plain", "one packet", "TCP, 1 stream", ({ tcp1 }) => tcp1, { atLeast: 0.9 }),
    ratio("one packet", "vxlan", "TCP, 1 stream", ({ tcp1 }) => tcp1, {}),
  ];
  if (isWire) return figures;
  return [
    ...figures,
    ...plain("small UDP", "kpkt/s", ({ kpps }) => kpps),
    ratio("udp", "one packet", "small UDP", ({ kpps }) => kpps, { atLeast: 3.5 }),
    ratio("udp", "vxlan", "small UDP", ({ kpps }) => kpps, { atLeast: 2 }),
    ...plain("round trip p50", "µs", ({ closeUs }) => p50(closeUs)),
    ratio("udp", "one packet", "round trip p50", ({ closeUs }) => p50(closeUs), { atMost: 1.1 }),
    ratio("udp", "one packet", "round trip p99", ({ closeUs }) => p99(closeUs), { atMost: 1.2 }),
    ...plain("round trip p50, paused", "µs", ({ spacedUs }) => p50(spacedUs)),
    ratio("udp", "one packet", "round trip p50, paused", ({ spacedUs }) => p50(spacedUs), { atMost: 1.1 }),
    ratio("udp", "one packet", "round trip p99, paused", ({ spacedUs }) => p99(spacedUs), { atMost: 1.2 }),
    ...plain("round trip p99 under bulk", "µs", ({ busyUs }) => p99(busyUs)),
    ratio("udp", "one packet", "round trip p99 under bulk", ({ busyUs }) => p99(busyUs), { atMost: 0.2 }),
  ];
}

type Bound = Pick<Figure, "atMost" | "atLeast">;

async function memoryFigure({ paths }: UdpWorld): Promise<Figure> {
  const pids = paths.get("udp")?.pids ?? [];
  const samples = await Promise.all(pids.map(residentMb));
  return medianFigure({ name: "resident memory of the agent", unit: "MB", atMost: 120 }, samples);
}

async function restartFigure(world: UdpWorld, signal: "SIGTERM" | "SIGKILL", rounds: number): Promise<Figure> {
  const samples: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const { target } = pathOf(world, "udp");
    samples.push(await longestGapMs(world.from, world.to, target, () => world.restart(signal)));
  }
  return medianFigure(
    { name: `restart after ${signal}: longest time without a packet`, unit: "ms", atMost: 300 },
    samples,
  );
}
