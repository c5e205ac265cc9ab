// How much of a start was work and how much was waiting for a processor, by the kernel's own count.
import { readFile } from "node:fs/promises";

export interface RunQueueTimes {
  /** The main thread computed for so long. */
  readonly onCpuMs: number;
  /** It could have, and others had the processors. */
  readonly waitingMs: number;
}

/** Of the main thread since the process began, the launcher that became it included. Throws if it has ended. */
export async function runQueueTimes(pid: number): Promise<RunQueueTimes> {
  const text = await readFile(`/proc/${pid}/task/${pid}/schedstat`, "utf8");
  const [onCpuNs = Number.NaN, waitingNs = Number.NaN] = text.trim().split(" ").map(Number);
  return { onCpuMs: onCpuNs / 1e6, waitingMs: waitingNs / 1e6 };
}

export interface MeasuredStart extends RunQueueTimes {
  readonly tookMs: number;
}

/** One line for the notes of a set: every start with what its main thread did in that time. */
export function describeStarts(what: string, starts: readonly MeasuredStart[]): string {
  const each = starts.map(
    ({ tookMs, onCpuMs, waitingMs }) => `${tookMs.toFixed(0)} (${onCpuMs.toFixed(0)} + ${waitingMs.toFixed(0)})`,
  );
  return `${what}, each start in ms (main thread: on a processor + waiting for one): ${each.join(", ")}`;
}
