// What the figures were measured on: cores, memory, load, versions. No names of machines.
import { availableParallelism, loadavg, release, totalmem } from "node:os";
import { run } from "../lab/command.ts";
import { formatLoad } from "./report.ts";

export async function describeMachine(): Promise<string> {
  const etcd = /\d+\.\d+\.\d+/.exec(await run(["etcd", "--version"]))?.[0] ?? "unknown";
  const iproute = /\d+\.\d+\.\d+/.exec(await run(["ip", "-V"]))?.[0] ?? "unknown";
  // Only the number: what distributions add may name a machine.
  const kernel = /^[\d.]+/.exec(release())?.[0] ?? "unknown";
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const versions = `Linux ${kernel}, Node ${process.versions.node}, etcd ${etcd}, iproute2 ${iproute}`;
  return `${availableParallelism()} cores, ${memory}, ${versions}; load ${formatLoad(loadAverage())}`;
}

/** Over 1, 5 and 15 minutes. */
export function loadAverage(): readonly number[] {
  return loadavg();
}
