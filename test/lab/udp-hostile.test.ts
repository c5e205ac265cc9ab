// The udp backend under attack: floods of damaged packets from a stranger and from a host that holds a lease. The agent
// lives, counts, answers and keeps its memory, and the others' traffic goes on.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { ContinuousPing, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { printReplayOnFailure, scaled, sliceSeeds } from "../support/fuzz.ts";
import { transfersUnharmed } from "../support/traffic.ts";

const sender = fileURLToPath(new URL("../support/hostile-sender.ts", import.meta.url));
const networkConfig = { Network: "10.5.0.0/16", Backend: { Type: "udp" } };
const theirSubnet = "10.5.250.0/24";
const [seed = 1] = sliceSeeds();
const MAX_GROWTH_BYTES = 3e6;

let cluster: Cluster;
beforeAll(async () => {
  // Packets are counted: those of probes would be some of them.
  cluster = await Cluster.start({ hosts: 3, config: networkConfig, args: ["--probe-interval=0"], withoutAgent: [3] });
  await untilAllPing(cluster.pods);
});
afterAll(() => cluster[Symbol.asyncDispose]());

type Counts = Readonly<Record<string, number>>;

async function counts(): Promise<Counts> {
  const { dataPlane } = await cluster.agent(2).status();
  return { ...dataPlane?.carried, ...dataPlane?.dropped };
}

/** How much more of each. */
const grown = (before: Counts, after: Counts): Counts =>
  Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)]));

/** Host 3 sends to host 2; returns how many datagrams left. */
async function flood(count: number, perSecond: number): Promise<number> {
  const { namespace, ipv4 = "" } = cluster.lan.host(3);
  const target = cluster.lan.host(2).ipv4 ?? "";
  const words = [ipv4, target, count, perSecond, seed, theirSubnet.replace("0/24", "9"), cluster.pod(2).ipv4 ?? ""];
  const said = await namespace.run([process.execPath, sender, ...words.map(String)], { timeoutMs: 60_000 });
  return Number(said);
}

/** Until the counters stand still. */
async function untilQuiet(): Promise<void> {
  let last = "";
  await until(
    async () => {
      const now = JSON.stringify((await counts())["unknownSender"]) + JSON.stringify((await counts())["malformed"]);
      const isQuiet = now === last;
      last = now;
      return isQuiet;
    },
    { what: "the flood to be over", intervalMs: 100 },
  );
}

/** Program text is not of it: that comes and goes by megabytes, as it is used. */
async function ownBytes(): Promise<number> {
  return (await cluster.agent(2).memory()).ownBytes;
}

/** What the flood has left. Garbage is collected once a minute: the answers to `counts` are some. */
async function untilMemoryIsBack(before: number): Promise<void> {
  await until(
    async () => {
      const grownBytes = (await ownBytes()) - before;
      if (grownBytes < MAX_GROWTH_BYTES) return true;
      throw new Error(`it has grown by ${grownBytes} bytes`);
    },
    { what: "the agent's memory to be what it was", timeoutMs: 90_000, intervalMs: 500 },
  );
}

it(`lets a stranger's flood run into nothing while others' traffic goes on, seed ${seed}`, async () => {
  printReplayOnFailure(seed);
  const [one, two] = [cluster.pod(1), cluster.pod(2)];
  // Buffers are touched and code is compiled once, by the first of each kind of traffic.
  await flood(100_000, 100_000);
  expect(await transfersUnharmed(one.namespace, two.namespace, two.ipv4 ?? "", 200_000_000)).toBe(true);
  await untilQuiet();
  const before = { counts: await counts(), ownBytes: await ownBytes() };
  await using pings = await ContinuousPing.start(one.namespace, two.ipv4 ?? "", 20);
  const transfer = transfersUnharmed(one.namespace, two.namespace, two.ipv4 ?? "", 200_000_000);
  const sent = await flood(500_000, 80_000);
  const answersMs = performance.now();
  await counts();
  expect(performance.now() - answersMs, "ms until status answers").toBeLessThan(5_000);
  expect(await transfer).toBe(true);
  const { sent: pinged, answered } = await pings.stop();
  expect(answered / pinged).toBeGreaterThan(0.5);
  await untilQuiet();
  const more = grown(before.counts, await counts());
  // What found the queue of the socket full was the kernel's to drop.
  expect(more["unknownSender"]).toBeGreaterThan(sent / 10);
  expect(more["unknownSender"]).toBeLessThanOrEqual(sent);
  expect(more).toMatchObject({ malformed: 0, foreignSource: 0, foreignDestination: 0, truncated: 0 });
  await untilMemoryIsBack(before.ownBytes);
});

it(`survives damaged packets from a host that holds a lease, and says what was wrong, seed ${seed}`, async () => {
  printReplayOnFailure(seed);
  const lease = JSON.stringify({ PublicIP: cluster.lan.host(3).ipv4, PublicIPv6: null });
  const key = `/coreos.com/network/subnets/${theirSubnet.replace("/", "-")}`;
  await cluster.etcd.put(key, lease, await cluster.etcd.grant(3_600));
  await cluster.agent(2).untilReady({ peers: 2 });
  await flood(100_000, 50_000);
  await untilQuiet();
  const before = { counts: await counts(), ownBytes: await ownBytes() };
  const sent = await flood(scaled(700_000), 60_000);
  await untilQuiet();
  const more = grown(before.counts, await counts());
  for (const reason of ["malformed", "foreignSource", "foreignDestination", "receivedPackets"])
    expect(more[reason], reason).toBeGreaterThan(sent / 7_000);
  const fates = ["malformed", "foreignSource", "foreignDestination", "ttlExpired", "truncated", "receivedPackets"];
  const counted = fates.reduce((sum, name) => sum + (more[name] ?? 0), 0);
  expect(counted).toBeLessThanOrEqual(sent);
  expect(counted).toBeGreaterThan(sent * 0.5);
  await untilMemoryIsBack(before.ownBytes);
  await untilAllPing(cluster.pods);
});

it("takes the same from everybody when told to, and lives as well", async () => {
  const open = { ...networkConfig, Backend: { Type: "udp", CheckSource: false } };
  await cluster.etcd.delete(`/coreos.com/network/subnets/${theirSubnet.replace("/", "-")}`);
  await cluster.agent(2).untilReady({ peers: 1 });
  await cluster.etcd.put("/coreos.com/network/config", JSON.stringify(open));
  // Live: no restart.
  await until(
    async () => {
      const before = await counts();
      await flood(1_000, 10_000);
      return (grown(before, await counts())["receivedPackets"] ?? 0) > 100;
    },
    { what: "a stranger's packets to be taken" },
  );
  const before = await counts();
  await flood(200_000, 60_000);
  await untilQuiet();
  const more = grown(before, await counts());
  expect(more["receivedPackets"]).toBeGreaterThan(10_000);
  expect(more).toMatchObject({ unknownSender: 0, foreignSource: 0, foreignDestination: 0 });
  await untilAllPing(cluster.pods);
});
