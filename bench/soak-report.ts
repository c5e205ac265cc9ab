// What a soak has shown: memory over time, what was carried, what was lost and why. Pure.
import type { NetworkStatus } from "../src/agent/control/control-protocol.ts";
import { percentile } from "./bench-set.ts";
import type { TrafficResults } from "./soak-traffic.ts";

/** One look at an agent's memory. */
export interface MemorySample {
  readonly minute: number;
  /** In MB, one for each agent. */
  readonly residentMb: readonly number[];
  /** Of it, what is not of files. */
  readonly ownMb: readonly number[];
}

export interface HostView {
  readonly name: string;
  readonly dataPlane: NonNullable<NetworkStatus["dataPlane"]>;
  /** Datagrams that found the socket's queue full. */
  readonly queueDrops: number;
}

export interface SoakResult {
  readonly samples: readonly MemorySample[];
  readonly traffic: TrafficResults;
  readonly hosts: readonly HostView[];
}

/** Between these minutes memory may grow by as much; the start-up is over by then. */
const FROM_MINUTE = 2;
const TO_MINUTE = 10;
const MAX_GROWTH_MB = 2;
/** Looks up to so far from a minute are that minute's. */
const NEAR_MINUTES = 1;

/** Lines for a terminal, and what is not as it should be. */
export function soakReport(result: SoakResult): {
  readonly lines: readonly string[];
  readonly faults: readonly string[];
} {
  const { samples, traffic, hosts } = result;
  const lastMinute = samples.at(-1)?.minute ?? 0;
  const memory = hosts.map(({ name }, index) => memoryOf(name, index, samples, lastMinute));
  const faults = [...memory.flatMap(({ fault }) => fault ?? []), ...new Set(traffic.failures)];
  const lines = [
    `after ${lastMinute.toFixed(1)} minutes:`,
    ...memory.map(({ text }) => text),
    ...[...traffic.gbits].map(([name, list]) => `${name}: ${spread(list)} Gbit/s`),
    `UDP packets of 100 bytes, beside: ${spread(traffic.kpps)} thousand a second`,
    `datagrams of every size, back and compared: ${number(traffic.echoed)}; pings of 64 KB answered: ${number(traffic.pings)}`,
    `foreign datagrams: ${number(traffic.foreignDatagrams)}`,
    ...hosts.flatMap((host, index) => [hostLine(host), lossLine(host, hosts[1 - index])]),
  ];
  return { lines, faults };
}

function memoryOf(name: string, index: number, samples: readonly MemorySample[], lastMinute: number) {
  const residentMb = (sample: MemorySample) => sample.residentMb[index] ?? Number.NaN;
  const ownMb = (sample: MemorySample) => sample.ownMb[index] ?? Number.NaN;
  if (lastMinute < TO_MINUTE) {
    const now = samples.slice(-1).map(residentMb)[0] ?? Number.NaN;
    return { text: `${name}: ${now.toFixed(1)} MB resident; too short to judge, it takes ${TO_MINUTE} minutes` };
  }
  const over = (read: (sample: MemorySample) => number) =>
    [FROM_MINUTE, TO_MINUTE, lastMinute].map((minute) => {
      const near = samples.filter((sample) => Math.abs(sample.minute - minute) <= NEAR_MINUTES);
      return percentile(near.map(read), 50);
    });
  const [early = Number.NaN, late = Number.NaN, last = Number.NaN] = over(residentMb);
  const own = over(ownMb).map((mb) => mb.toFixed(1));
  const most = Math.max(...samples.map(residentMb));
  const text =
    `${name}: resident ${early.toFixed(1)} MB at minute ${FROM_MINUTE}, ${late.toFixed(1)} at ${TO_MINUTE}, ` +
    `${last.toFixed(1)} at the end, ${most.toFixed(1)} at most; of it not of files ${own.join(", ")}`;
  const grown = Math.max(late - early, last - late);
  const isFlat = grown <= MAX_GROWTH_MB;
  return isFlat ? { text } : { text, fault: `${name}: resident memory grew by ${grown.toFixed(1)} MB` };
}

function hostLine({ name, dataPlane }: HostView): string {
  const { carried, dropped, problem } = dataPlane;
  const reasons = Object.entries(dropped).filter(([, packets]) => packets > 0);
  const why = reasons.map(([reason, packets]) => `${number(packets)} ${reason}`).join(", ") || "none";
  const what = `${name}: ${number(carried["sentPackets"])} packets sent, ${number(carried["receivedPackets"])} received`;
  return `${what}; dropped: ${why}${problem === undefined ? "" : `; ${problem}`}`;
}

/** What one sent and the other did not get. */
function lossLine(from: HostView, to: HostView | undefined): string {
  const sent = from.dataPlane.carried["sentPackets"] ?? 0;
  const missing = sent - (to?.dataPlane.carried["receivedPackets"] ?? 0);
  const share = ((missing / sent) * 100).toFixed(4);
  return `${from.name} to ${to?.name}: ${number(missing)} of ${number(sent)} lost (${share} %), ${number(to?.queueDrops)} joined datagrams of them in the full queue of the socket`;
}

function spread(list: readonly number[]): string {
  const [least, middle, most] = [0, 50, 100].map((percent) => percentile(list, percent).toFixed(2));
  return `${middle} (${least} – ${most}, ${list.length} rounds)`;
}

function number(value: number | undefined): string {
  return (value ?? 0).toLocaleString("en");
}
