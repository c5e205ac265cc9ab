// What the demo shows, step by step. Each step throws with a message for the person when it does not come true.
import { readFile } from "node:fs/promises";
import type { LabHost } from "../../lab/host.ts";
import { link, routes } from "../../lab/kernel-view.ts";
import type { Pod } from "../../lab/pod.ts";
import { ContinuousPing, measureThroughput, type PingResult, pingAll, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { measureBesideVxlan } from "./beside-vxlan.ts";
import type { DemoOptions } from "./demo-options.ts";
import { bitRate, type Screen, table } from "./screen.ts";
import { etcdPrefix, World } from "./world.ts";

/** Builds the world and shows it at work. */
export async function tellStory(options: DemoOptions, screen: Screen): Promise<World> {
  screen.heading(`flannel demo: ${options.hosts} hosts, backend ${options.backend}, leases in ${storeName(options)}`);
  const world = await buildWorld(options, screen);
  await showLeases(world, screen);
  await showHost(world, screen);
  if (options.backend === "alloc") {
    screen.heading("Backend alloc only leases subnets and carries no packets, so there is nothing to ping.");
    return world;
  }
  await showPings(world, screen);
  await showThroughput(world, screen, options.backend);
  await showRepair(world, screen);
  return world;
}

function storeName({ store }: DemoOptions): string {
  return store === "etcd" ? "etcd" : "flannel-store";
}

async function buildWorld(options: DemoOptions, screen: Screen): Promise<World> {
  const step = async <T>(work: () => Promise<T>, text: (value: T) => string): Promise<T> => {
    const start = performance.now();
    const value = await work();
    screen.done(text(value), performance.now() - start);
    return value;
  };
  const count = options.hosts;
  const world = await step(
    () => World.create(options),
    () => `one LAN (192.168.50.0/24) with ${count} hosts: h1 to h${count}`,
  );
  await step(
    () => world.startStore(),
    () => `store: ${storeName(options)} at ${world.store.endpoints}`,
  );
  await step(
    () => world.writeNetworkConfig(),
    (config) => `network config in the store: ${config}`,
  );
  await step(
    () => world.startAgents(),
    () => `flanneld on each host: all ${count} leased a subnet and are ready`,
  );
  await step(
    () => world.startContainers(),
    () => `a container on each host: container1 to container${count}`,
  );
  return world;
}

async function showLeases(world: World, screen: Screen): Promise<void> {
  const entries = await world.store.list(`${etcdPrefix}/subnets/`);
  const rows = entries.map((entry) => {
    const value = JSON.parse(entry.value) as { PublicIP: string; BackendType?: string };
    const host = world.lan.hosts.find(({ ipv4 }) => ipv4 === value.PublicIP);
    const subnet = entry.key.slice(entry.key.lastIndexOf("/") + 1).replace("-", "/");
    return [host?.name ?? "?", value.PublicIP, subnet, value.BackendType ?? "-"];
  });
  screen.heading("Leases in the store: which subnet belongs to which host");
  rows.sort(([a = ""], [b = ""]) => a.localeCompare(b, "en", { numeric: true }));
  screen.lines(table([["HOST", "ADDRESS", "CONTAINER SUBNET", "BACKEND"], ...rows]));
  if (new Set(rows.map(([, , subnet]) => subnet)).size !== world.agents.length) {
    throw new Error(`${world.agents.length} hosts, but ${rows.length} leases in the store`);
  }
}

async function showHost(world: World, screen: Screen): Promise<void> {
  const [agent] = world.agents;
  if (agent === undefined) return;
  screen.heading("What container tools on h1 read: subnet.env");
  screen.lines((await readFile(agent.subnetFile, "utf8")).trimEnd().split("\n"));
  screen.heading("Routes on h1");
  screen.lines((await routes(agent.host.namespace)).filter((line) => !line.startsWith("fd")));
}

async function showPings(world: World, screen: Screen): Promise<void> {
  screen.heading("Round-trip times between containers, in ms");
  let trouble: unknown;
  try {
    await untilAllPing(world.pods, 10_000);
  } catch (error) {
    trouble = error;
  }
  const results = await pingAll(world.pods);
  screen.lines(pingMatrix(world.pods, results));
  const answered = results.filter((result) => result.roundTripMs !== undefined).length;
  if (trouble !== undefined || answered < results.length) {
    throw new Error(`only ${answered} of ${results.length} pairs of containers reach each other`, { cause: trouble });
  }
  screen.done(`all ${results.length} pairs reach each other`);
}

/** A row for each sender, a column for each receiver. */
function pingMatrix(pods: readonly Pod[], results: readonly PingResult[]): readonly string[] {
  const header = ["FROM \\ TO", ...pods.map((_, index) => String(index + 1).padStart(5))];
  const cell = (from: Pod, to: Pod) => {
    if (from === to) return "    ·";
    const result = results.find((entry) => entry.from === from.name && entry.to === to.name);
    return (result?.roundTripMs?.toFixed(2) ?? "lost").padStart(5);
  };
  return table([header, ...pods.map((from) => [from.name, ...pods.map((to) => cell(from, to))])]);
}

async function showThroughput(world: World, screen: Screen, backend: string): Promise<void> {
  const [from, to] = firstTwo(world.pods);
  screen.heading("Throughput");
  const bitsPerSecond = await measureThroughput(from, to, 1);
  screen.done(`${from.name} to ${to.name}, one TCP connection: ${bitRate(bitsPerSecond)}`);
  if (backend !== "udp") return;
  screen.done(`the same over the kernel's vxlan, for comparison: ${bitRate(await measureBesideVxlan(from, to, 1))}`);
}

/** Breaks host 2 by hand and waits for its agent to mend it, under ping. */
async function showRepair(world: World, screen: Screen): Promise<void> {
  const [from, to] = firstTwo(world.pods);
  const damage = await planDamage(to);
  screen.heading("Repair");
  await using probe = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
  await probe.more(20);
  const start = performance.now();
  await damage.inflict();
  screen.broke(damage.text);
  await until(damage.isRepaired, { what: "flanneld to repair it", timeoutMs: 15_000, intervalMs: 5 });
  const repairedMs = performance.now() - start;
  await probe.more(20);
  const report = await probe.stop();
  screen.done(`${damage.repairText} after ${repairedMs.toFixed(0)} ms`);
  const count = report.lost.length === 0 ? "none" : String(report.lost.length);
  const silence = `the longest silence was ${report.longestSilenceMs.toFixed(0)} ms`;
  screen.done(`container1 pinged container2 every 10 ms during that time, ${count} lost; ${silence}`);
  await untilAllPing(world.pods);
}

interface Damage {
  readonly text: string;
  readonly repairText: string;
  inflict(): Promise<unknown>;
  isRepaired(): Promise<boolean>;
}

/** The tunnel device when there is one, else the routes. */
async function planDamage(pod: Pod): Promise<Damage> {
  const { name, namespace } = pod.host;
  const before = await routesToOthers(pod.host);
  const areRoutesBack = async () => {
    const now = await routes(namespace);
    return before.every((line) => now.includes(line));
  };
  const device = await deviceToOthers(pod.host);
  if (device?.startsWith("flannel") === true) {
    const index = (await link(namespace, device))?.index;
    return {
      text: `deleted ${device} on ${name}: ip -n ${name} link del ${device}`,
      repairText: `${device} is back with its addresses and routes`,
      inflict: () => namespace.ip("link", "del", "dev", device),
      isRepaired: async () => {
        const now = await link(namespace, device);
        return now !== undefined && now.index !== index && (await areRoutesBack());
      },
    };
  }
  if (before.length === 0) throw new Error(`${name} has no routes to the other hosts' containers`);
  return {
    text: `deleted all routes to other hosts' containers on ${name}`,
    repairText: "the routes are back",
    inflict: () => namespace.ipBatch(before.map((line) => `route del ${line}`)),
    isRepaired: areRoutesBack,
  };
}

async function routesToOthers(host: LabHost): Promise<readonly string[]> {
  return (await routes(host.namespace)).filter((line) => /^10\.5\..*( via | dev flannel)/.test(line));
}

/** The device through which a host reaches the other hosts' containers; undefined when it does not. */
export async function deviceToOthers(host: LabHost): Promise<string | undefined> {
  return / dev (\S+)/.exec((await routesToOthers(host))[0] ?? "")?.[1];
}

function firstTwo(pods: readonly Pod[]): readonly [Pod, Pod] {
  const [first, second] = pods;
  return first !== undefined && second !== undefined ? [first, second] : raise("two containers are needed");
}

function raise(message: string): never {
  throw new Error(message);
}
