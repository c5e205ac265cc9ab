// `npm run soak`: the udp backend under mixed traffic for an hour, with an eye on its memory. Ends by itself, or by
// Ctrl-C with what is known by then; like everything here in a box that is gone with it.
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { boxed } from "../lab/box.ts";
import { Cluster } from "../lab/cluster.ts";
import { untilAllPing } from "../lab/probe.ts";
import { describeMachine, loadAverage } from "./machine.ts";
import { formatLoad } from "./report.ts";
import { type HostView, type MemorySample, type SoakResult, soakReport } from "./soak-report.ts";
import { startTraffic } from "./soak-traffic.ts";

const usage = `npm run soak -- [--minutes N]

The udp backend under mixed traffic between two hosts; memory, throughput, drops. Exit code 0 when resident memory grew
by no more than 2 MB between minute 2 and 10 and stayed flat, and nothing went wrong.

  --minutes N  60 by default; at least 10 for a verdict
`;
/** Program text goes every two seconds and comes back as it is used: a median needs many looks. */
const SAMPLE_MS = 250;
const config = {
  Network: "10.6.0.0/16",
  EnableIPv6: true,
  IPv6Network: "fd00:6::/48",
  Backend: { Type: "udp" },
};

async function soak(minutes: number, signal: AbortSignal): Promise<SoakResult> {
  await using cluster = await Cluster.start({ hosts: 2, ipv6: true, config });
  await untilAllPing(cluster.pods);
  const traffic = await startTraffic(cluster, signal);
  const samples: MemorySample[] = [];
  const startedMs = performance.now();
  let told = 0;
  for (;;) {
    await sleep(SAMPLE_MS, undefined, { signal }).catch(() => undefined);
    const minute = (performance.now() - startedMs) / 60_000;
    const memory = await Promise.all(cluster.agents.map((agent) => agent.memory()));
    const residentMb = memory.map(({ residentBytes }) => residentBytes / 1e6);
    samples.push({ minute, residentMb, ownMb: memory.map(({ ownBytes }) => ownBytes / 1e6) });
    if (Math.floor(minute) > told) {
      told = Math.floor(minute);
      const gbits = [...traffic.gbits.values()].map((list) => (list.at(-1) ?? 0).toFixed(2)).join(" and ");
      console.log(
        `minute ${told}: resident ${residentMb.map((mb) => mb.toFixed(1)).join(" and ")} MB; ${gbits} Gbit/s`,
      );
    }
    if (signal.aborted || minute >= minutes) break;
  }
  const hosts = await Promise.all([1, 2].map((number) => viewHost(cluster, number)));
  return { samples, traffic, hosts };
}

async function viewHost(cluster: Cluster, number: number): Promise<HostView> {
  const agent = cluster.agent(number);
  const { dataPlane } = await agent.status();
  if (dataPlane === undefined) throw new Error(`${agent.host.name} carries no packets`);
  const tables = await Promise.all(
    ["udp", "udp6"].map((name) => agent.host.namespace.run(["cat", `/proc/net/${name}`])),
  );
  const sockets = tables
    .join("")
    .split("\n")
    .filter((line) => /^ *\d+: [0-9A-F]+:205D /.test(line));
  const queueDrops = sockets.reduce((sum, line) => sum + Number(line.trim().split(/\s+/).at(-1)), 0);
  return { name: agent.host.name, dataPlane, queueDrops };
}

async function runInside(minutes: number): Promise<number> {
  const stopped = new AbortController();
  // Its end means that the one outside was asked to stop, or is gone.
  process.stdin.on("end", () => stopped.abort()).resume();
  console.log(`${await describeMachine()}; ${minutes} minutes`);
  const { lines, faults } = soakReport(await soak(minutes, stopped.signal));
  console.log(`\n${lines.join("\n")}\nload ${formatLoad(loadAverage())}`);
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  if (stopped.signal.aborted) return 130;
  console.log(faults.length === 0 ? "soak: all well" : `soak: ${faults.length} faults`);
  return faults.length === 0 ? 0 : 1;
}

/** This very program again, in a box and a session of its own, so that Ctrl-C reaches only us. */
function runBox(args: readonly string[]): Promise<number> {
  const [program = "", ...rest] = boxed([process.execPath, fileURLToPath(import.meta.url), ...args]);
  const child = spawn(program, rest, { detached: true, stdio: ["pipe", "inherit", "inherit"] });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.stdin.end());
  return new Promise((settle, reject) => {
    child.on("error", reject);
    child.on("close", (code) => settle(code ?? 1));
  });
}

async function main(args: readonly string[]): Promise<number> {
  try {
    const options = { minutes: { type: "string", default: "60" }, help: { type: "boolean", short: "h" } } as const;
    const { values } = parseArgs({ args: [...args], options });
    if (values.help === true) {
      console.log(usage);
      return 0;
    }
    if (!/^[1-9]\d{0,3}$/.test(values.minutes)) throw new Error(`--minutes: ${values.minutes} is not from 1 to 9999`);
    return process.env["LAB_BOX"] === "1" ? await runInside(Number(values.minutes)) : await runBox(args);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
}

// What still flows ends with the box.
process.exit(await main(process.argv.slice(2)));
