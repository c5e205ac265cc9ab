// One agent that serves fifty networks, with one peer in each: how long until all are ready, what each of them costs in memory
// and at rest.
import { readFile, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { LabAgent } from "../lab/agent.ts";
import { until } from "../lab/wait.ts";
import { type BenchContext, type BenchSet, medianFigure } from "./bench-set.ts";
import { cpuSeconds } from "./cpu-seconds.ts";
import { createWorld, type World } from "./world.ts";

const NETWORKS = 50;
const prefix = "/networks";
/** Memory that the start needed alone is given back by then. */
const SETTLE_SECONDS = 30;
const IDLE_SECONDS = 60;

export const networksSet: BenchSet = {
  name: "networks",
  title: `an agent with ${NETWORKS} networks`,
  async run(context) {
    await using world = await createWorld(1);
    const one: Measured[] = [];
    const many: Measured[] = [];
    for (let round = 1; round <= context.rounds; round++) {
      one.push(await measure(world, 1, context, round));
      many.push(await measure(world, NETWORKS, context, round));
    }
    const figure = (name: string, unit: "ms" | "MB" | "%", atMost: number | undefined, values: readonly number[]) =>
      medianFigure({ name, unit, ...(atMost !== undefined && { atMost }) }, values);
    const perNetworkMb = many.map(({ residentMb }, round) => {
      const alone = one[round]?.residentMb ?? Number.NaN;
      return (residentMb - alone) / (NETWORKS - 1);
    });
    const values = (measured: readonly Measured[], key: keyof Measured) => measured.map((each) => each[key]);
    return {
      figures: [
        figure(`first start to all ${NETWORKS} ready`, "ms", 5_000, values(many, "firstMs")),
        figure(`started again, to all ${NETWORKS} ready`, "ms", 5_000, values(many, "againMs")),
        figure("CPU time until then, of the agent and what it runs", "ms", undefined, values(many, "startCpuMs")),
        figure("the same with one network: first start", "ms", undefined, values(one, "firstMs")),
        figure(`resident after ${SETTLE_SECONDS} s`, "MB", undefined, values(many, "residentMb")),
        figure("the same with one network: resident", "MB", undefined, values(one, "residentMb")),
        figure("memory of each further network", "MB", 1.05, perNetworkMb),
        figure(`CPU over the next ${IDLE_SECONDS} s, of one core`, "%", undefined, values(many, "cpuPercent")),
        figure("the same with one network: CPU", "%", undefined, values(one, "cpuPercent")),
      ],
      notes: ["vxlan, one peer in each network, probes every second, etcd on the same machine."],
    };
  },
};

interface Measured {
  readonly firstMs: number;
  readonly againMs: number;
  readonly startCpuMs: number;
  readonly residentMb: number;
  readonly cpuPercent: number;
}

async function putNetworks({ etcd }: World, count: number): Promise<void> {
  for (let index = 1; index <= count; index++) {
    const config = { Network: `10.${index}.0.0/16`, Backend: { Type: "vxlan", VNI: 100 + index } };
    await etcd.put(`${prefix}/n${index}/config`, JSON.stringify(config));
    const data = { VNI: 100 + index, VtepMAC: `02:00:00:00:00:${index.toString(16).padStart(2, "0")}` };
    const lease = { PublicIP: "192.168.50.99", BackendType: "vxlan", BackendData: data };
    await etcd.put(`${prefix}/n${index}/subnets/10.${index}.250.0-24`, JSON.stringify(lease));
  }
}

async function measure(world: World, count: number, { progress }: BenchContext, round: number): Promise<Measured> {
  const { lan, etcd } = world;
  const host = lan.host(1);
  await putNetworks(world, count);
  progress(`round ${round}, ${count} networks: first start`);
  const first = await start(world, count);
  await first.agent.term();
  progress(`round ${round}, ${count} networks: started again, then ${SETTLE_SECONDS + IDLE_SECONDS} s of rest`);
  const again = await start(world, count);
  await using agent = again.agent;
  await sleep(SETTLE_SECONDS * 1_000);
  const residentMb = (await agent.residentBytes()) / 1e6;
  const before = await cpuSeconds(agent.pid);
  await sleep(IDLE_SECONDS * 1_000);
  const cpuPercent = (((await cpuSeconds(agent.pid)) - before) / IDLE_SECONDS) * 100;
  await agent.term();
  for (const { key } of await etcd.list(`${prefix}/`)) await etcd.delete(key);
  for (let index = 1; index <= count; index++)
    await host.namespace.tryRun(["ip", "link", "del", `flannel.${100 + index}`]);
  await host.namespace.tryRun(["nft", "flush", "ruleset"]);
  await rm(agent.directory, { recursive: true, force: true });
  return { firstMs: first.readyMs, againMs: again.readyMs, startCpuMs: first.cpuMs, residentMb, cpuPercent };
}

interface Started {
  readonly agent: LabAgent;
  readonly readyMs: number;
  /** Also of the programs that it ran. */
  readonly cpuMs: number;
}

async function start({ lan, etcd }: World, count: number): Promise<Started> {
  const startedMs = performance.now();
  const options = { isSeveral: true, etcdEndpoints: etcd.endpoints };
  const agent = LabAgent.start(lan.host(1), { ...options, args: ["--watch-networks", `--etcd-prefix=${prefix}`] });
  await until(() => agent.events("agent.ready").length === count, { what: "all networks to be ready" });
  return {
    agent,
    readyMs: performance.now() - startedMs,
    cpuMs: (await cpuSeconds(agent.pid)) * 1_000 + (await childrensMs(agent.pid)),
  };
}

/** CPU time of programs that have ended; the kernel tells hundredths of a second. */
async function childrensMs(pid: number): Promise<number> {
  const [, fields = ""] = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ");
  const [user, system] = fields.split(" ").slice(13, 15).map(Number);
  return ((user ?? 0) + (system ?? 0)) * 10;
}
