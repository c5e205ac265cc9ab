// What `flannelctl trace` says of a way that is whole, and of the same way broken at one place after the other: for the backends
// that need WireGuard, IP in IP or IPsec, on whatever kernel has them.
import { fileURLToPath } from "node:url";
import type { Cluster } from "../../lab/cluster.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import type { TraceOutput } from "../../src/cli/flannelctl/session/trace-output.ts";
import { parseOutput } from "./output-schema.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));

export interface Traced {
  readonly exitCode: number;
  readonly verdict: string;
  /** Text and share of each hop: `left eth0 here 3/3`. */
  readonly hops: readonly string[];
  readonly cause?: string;
  /** Of the lines that are not as they should be. */
  readonly troubles: readonly string[];
  readonly peer: readonly string[];
  readonly next?: string;
}

export interface TraceFault {
  readonly name: string;
  /** On this host; 0 is the LAN. */
  readonly at: number;
  readonly make: string;
  readonly undo: string;
  /** Agents that stand still meanwhile: they would heal it. */
  readonly stopped?: readonly number[];
}

/** From host 1 to the container of host 2. `wrap`: as the programs of a host see its files. */
async function traceTo(
  cluster: Cluster,
  address: string,
  wrap: (argv: readonly string[]) => readonly string[] = (argv) => argv,
): Promise<Traced> {
  const { subnetFile, directory } = cluster.agent(1);
  const files = [`--subnet-file=${subnetFile}`, `--state-dir=${directory}/state`];
  const argv = [flannelctl, ...files, `--etcd-endpoints=${cluster.etcd.endpoints}`, "trace", address, "--json"];
  const { stdout, stderr, exitCode } = await cluster.lan.host(1).namespace.tryRun(wrap(argv));
  if (stdout === "") throw new Error(`flannelctl trace ended with ${exitCode}: ${stderr}`);
  const [network] = (parseOutput("trace", stdout) as TraceOutput).networks;
  if (network === undefined) throw new Error(stdout);
  const { verdict, cause, next, lines, live } = network;
  return {
    ...{ exitCode: exitCode ?? -1, verdict },
    hops: live?.hops.map(({ text, seen, of }) => `${text} ${seen}/${of}`) ?? [],
    ...(cause !== undefined && { cause }),
    ...(next !== undefined && { next }),
    troubles: lines.filter((line) => line.verdict !== "ok" && line.verdict !== "note").map(({ text }) => text),
    peer: live?.peer.map(({ name, answered }) => `${name} ${answered}`) ?? [],
  };
}

/** Each fault by itself, the way whole before it. */
export async function traceFaults(
  cluster: Cluster,
  faults: readonly TraceFault[],
  tell: (name: string, traced: Traced) => void,
  wrap?: (argv: readonly string[]) => readonly string[],
): Promise<void> {
  const target = cluster.pod(2).ipv4 ?? "";
  const whole = async () => await traceTo(cluster, target, wrap);
  const untilWhole = async (): Promise<Traced> => {
    let traced = await whole();
    const isWhole = async () => {
      if (traced.exitCode === 0) return true;
      traced = await whole();
      return false;
    };
    await until(isWhole, { what: "packets that arrive", timeoutMs: 300_000, intervalMs: 500 });
    return traced;
  };
  tell("whole", await untilWhole());
  for (const { name, at, make, undo, stopped = [] } of faults) {
    const where = at === 0 ? boxNamespace : cluster.lan.host(at).namespace;
    const pids = stopped.map((number) => cluster.agent(number).pid);
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    try {
      await where.run(["sh", "-c", make]);
      tell(name, await whole());
    } finally {
      await where.run(["sh", "-c", undo]);
      for (const pid of pids) process.kill(pid, "SIGCONT");
    }
    await untilWhole();
  }
}
