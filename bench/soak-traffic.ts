// Mixed traffic between two containers for as long as it is wanted: bulk TCP both ways on both families, small UDP
// packets, datagrams of every size, fragments, noise of unknown hosts, peers that come and go.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../lab/cluster.ts";
import type { Namespace } from "../lab/namespace.ts";
import { describeError } from "../src/errors.ts";
import { echoesEverySize } from "../test/support/traffic.ts";
import { startServer } from "./udp-world.ts";

const ROUND_SECONDS = 10;
const MAX_TRIES = 20;
const LARGEST_ECHO = 1_474;
const PORT = 8285;
const UNKNOWN_HOST = "192.168.50.1";

export interface TrafficResults {
  /** Of each round, by flow, always in the same order. */
  readonly gbits: Map<string, number[]>;
  readonly kpps: number[];
  echoed: number;
  pings: number;
  foreignDatagrams: number;
  /** What went wrong, in words. */
  readonly failures: string[];
}

/** Starts everything and returns at once; it goes on until the signal, and what is known so far is in the result. */
export async function startTraffic(cluster: Cluster, signal: AbortSignal): Promise<TrafficResults> {
  const results: TrafficResults = {
    gbits: new Map(),
    kpps: [],
    echoed: 0,
    pings: 0,
    foreignDatagrams: 0,
    failures: [],
  };
  const [first, second] = [cluster.pod(1), cluster.pod(2)];
  const [one, two] = [first.namespace, second.namespace];
  for (const namespace of [one, two]) for (const port of [5201, 5202, 5203]) await startServer(namespace, port);
  const forever = (what: string, act: () => Promise<void>) => void repeat(what, act, results, signal);
  const bulk = (name: string, from: Namespace, target: string, options: readonly string[]) => {
    const gbits: number[] = [];
    results.gbits.set(name, gbits);
    forever(name, async () => {
      const { end } = await iperf(from, target, options);
      gbits.push((end.sum_received?.bits_per_second ?? 0) / 1e9);
    });
  };
  bulk("TCP over IPv4, 4 streams, 1 to 2", one, second.ipv4 ?? "", ["-p", "5201", "-P", "4"]);
  bulk("TCP over IPv6, 1 stream, 2 to 1", two, first.ipv6 ?? "", ["-p", "5202"]);
  forever("small UDP packets", async () => {
    const { end } = await iperf(one, second.ipv4 ?? "", ["-p", "5203", "-u", "-b", "20M", "-l", "100"]);
    results.kpps.push(((end.sum.packets ?? 0) - (end.sum.lost_packets ?? 0)) / end.sum.seconds / 1_000);
  });
  forever("datagrams of every size", async () => {
    const said = await echoesEverySize(two, one, first.ipv4 ?? "", 0, LARGEST_ECHO);
    const [, back = 0, wrong = 0] = (/^(\d+) of \d+ back, (\d+) wrong$/.exec(said) ?? []).map(Number);
    results.echoed += back;
    if (wrong > 0) throw new Error(said);
  });
  forever("pings of 64 KB", async () => {
    const { stdout } = await one.tryRun(["ping", "-n", "-c", "20", "-i", "0.2", "-s", "64000", second.ipv4 ?? ""]);
    results.pings += Number(/(\d+) received/.exec(stdout)?.[1] ?? 0);
  });
  forever("peers that come and go", async () => {
    for (let number = 200; number < 210; number++) await comeOrGo(cluster, number);
    await sleep(5_000);
  });
  forever("foreign datagrams", () => makeNoise(cluster, results, signal));
  return results;
}

async function repeat(what: string, act: () => Promise<void>, results: TrafficResults, signal: AbortSignal) {
  while (!signal.aborted) {
    try {
      await act();
    } catch (error) {
      // Whatever is cut off by the end is no failure.
      if (signal.aborted) return;
      results.failures.push(`${what}: ${describeError(error)}`);
      await sleep(1_000);
    }
  }
}

interface IperfReport {
  readonly error?: string;
  readonly intervals?: readonly unknown[];
  readonly end: {
    readonly sum_received?: { readonly bits_per_second: number };
    readonly sum: { readonly packets?: number; readonly lost_packets?: number; readonly seconds: number };
  };
}

async function iperf(from: Namespace, target: string, options: readonly string[]): Promise<IperfReport> {
  const argv = ["iperf3", "-c", target, "-t", String(ROUND_SECONDS), "--json", ...options];
  for (let tries = 1; ; tries++) {
    const { stdout } = await from.tryRun(argv, { timeoutMs: 60_000 });
    const report = JSON.parse(stdout) as IperfReport;
    if (report.error === undefined) return report;
    if (tries === MAX_TRIES || !isServerBetweenRounds(report)) throw new Error(report.error);
    await sleep(500);
  }
}

/**
 * On a busy machine the server is not done with the round before: it says so, or it closes its listening socket, which
 * it does between rounds, refuses, and resets the connection that already waited there. Either way nothing was sent yet.
 */
function isServerBetweenRounds({ error = "", intervals = [] }: IperfReport): boolean {
  if (error.includes("the server is busy")) return true;
  return intervals.length === 0 && /Connection (reset by peer|refused)/.test(error);
}

async function comeOrGo({ etcd }: Cluster, number: number): Promise<void> {
  const key = `/coreos.com/network/subnets/10.6.${number}.0-24&fd00:6:0:${number}::-64`;
  const value = {
    PublicIP: `192.168.50.${number}`,
    PublicIPv6: `fd00:50::${number}`,
    BackendV6Data: { Port: PORT },
  };
  if ((await etcd.list(key)).length > 0) await etcd.delete(key);
  else await etcd.put(key, JSON.stringify(value));
}

/** From an address that holds no lease: rubbish, and packets that would be fine from another host. */
async function makeNoise(cluster: Cluster, results: TrafficResults, signal: AbortSignal): Promise<void> {
  const socket = createSocket("udp4");
  socket.bind(0, UNKNOWN_HOST);
  await once(socket, "listening");
  const hosts = cluster.lan.hosts.map(({ ipv4 }) => ipv4 ?? "");
  const rubbish = Array.from({ length: 10 }, (_, index) => Buffer.alloc(1 + index * 140, index * 31));
  while (!signal.aborted) {
    for (const host of hosts) for (const bytes of rubbish) socket.send(bytes, PORT, host);
    results.foreignDatagrams += hosts.length * rubbish.length;
    await sleep(10);
  }
  socket.close();
}
