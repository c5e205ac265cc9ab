// The udp backend across networks that lose, delay and reorder datagrams, or carry smaller ones than expected; on both
// families, with a router between the hosts.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { loseRouted, narrowLeg, reorder } from "../../lab/faults.ts";
import type { Namespace } from "../../lab/namespace.ts";
import type { Pod } from "../../lab/pod.ts";
import { ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { echoesEverySize, transfersUnharmed } from "../support/traffic.ts";

const PORT = 8285;
let cluster: Cluster;
const pod = (number: number) => cluster.pod(number);

beforeAll(async () => {
  const config = {
    Network: "10.5.0.0/16",
    EnableIPv6: true,
    IPv6Network: "fd00:5::/48",
    Backend: { Type: "udp" },
  };
  cluster = await Cluster.start({ hosts: 1, routedHosts: 1, ipv6: true, config });
  await untilAllPing(cluster.pods);
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** A counter of the kernel's TCP in a container. */
async function tcpCounter(namespace: Namespace, name: string): Promise<number> {
  const text = await namespace.run(["nstat", "-az", name]);
  return Number(/^\w+\s+(\d+)/m.exec(text.replace(/^#.*$/m, ""))?.[1]);
}

/** On each family in each direction, all at once. */
function transferEverywhere(bytes: number): Promise<readonly boolean[]> {
  const [one, two] = [pod(1), pod(2)];
  return Promise.all([
    transfersUnharmed(one.namespace, two.namespace, two.ipv4 ?? "", bytes, 5001),
    transfersUnharmed(two.namespace, one.namespace, one.ipv4 ?? "", bytes, 5002),
    transfersUnharmed(one.namespace, two.namespace, two.ipv6 ?? "", bytes, 5003),
    transfersUnharmed(two.namespace, one.namespace, one.ipv6 ?? "", bytes, 5004),
  ]);
}

async function echoEverywhere(): Promise<readonly string[]> {
  const [one, two] = [pod(1), pod(2)];
  return [
    await echoesEverySize(one.namespace, two.namespace, two.ipv4 ?? "", 0, 1_453),
    await echoesEverySize(two.namespace, one.namespace, one.ipv6 ?? "", 0, 1_453),
  ];
}

const allUnharmed = [true, true, true, true];
const allBack = ["1454 of 1454 back, 0 wrong", "1454 of 1454 back, 0 wrong"];

describe("datagrams lost, late and out of order", () => {
  it("harms no byte of TCP and UDP on either family", async () => {
    const undoLoss = await loseRouted(PORT, 1);
    const undoOrder = await reorder(cluster.lan.hosts, PORT, 10);
    expect(await transferEverywhere(20_000_000)).toEqual(allUnharmed);
    expect(await echoEverywhere()).toEqual(allBack);
    for (const { namespace } of cluster.pods) {
      expect(await tcpCounter(namespace, "TcpExtTCPOFOQueue"), "segments out of order").toBeGreaterThan(100);
      expect(await tcpCounter(namespace, "TcpRetransSegs"), "segments sent again").toBeGreaterThan(20);
    }
    await undoOrder();
    await undoLoss();
  });
});

describe("a path that carries less than the device promises", () => {
  it("is told to the senders, and harms nothing", async () => {
    const legs = [...new Set(cluster.lan.hosts.map(({ segment }) => segment))];
    const undo = await Promise.all(legs.map((leg) => narrowLeg(leg, 1_300)));
    const [one, two] = [pod(1), pod(2)];
    // Who sends packets alone, and none of them in a stream, is told as well.
    await until(() => isToldAtOnce(one, two, 77), { what: "a sender of packets alone to be told 1272" });
    expect(await transferEverywhere(10_000_000)).toEqual(allUnharmed);
    const isTold = async (target: string | undefined, words: RegExp) => {
      const argv = ["ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1404", target ?? ""];
      const { stdout, stderr } = await one.namespace.tryRun(argv);
      return words.test(stdout + stderr);
    };
    await until(() => isTold(two.ipv4, /mtu ?= ?1272/), { what: "an IPv4 sender to be told 1272" });
    // 1300 bytes outside leave 1252, but no IPv6 sender goes below 1280: that much is carried, in outer fragments.
    await until(() => isTold(two.ipv6, /mtu ?[:=] ?1280/), { what: "an IPv6 sender to be told 1280" });
    expect(await ping(one.namespace, two.ipv4 ?? "", { payloadBytes: 1272 - 28 })).toBeGreaterThan(0);
    expect(await ping(one.namespace, two.ipv6 ?? "", { payloadBytes: 1280 - 48 })).toBeGreaterThan(0);
    expect(await echoEverywhere()).toEqual(allBack);
    for (const target of [two.ipv4 ?? "", two.ipv6 ?? ""])
      await one.namespace.run(["ping", "-n", "-c", "1", "-W", "2", "-s", "64000", target]);
    await besideFlood(one, async () => {
      await until(() => isToldAtOnce(one, two, 78), { what: "a sender to be told beside packets to nobody" });
    });
    for (const act of undo) await act();
    for (const agent of cluster.agents) expect((await agent.status()).dataPlane?.dropped["tooBig"]).toBeGreaterThan(0);
  });
});

/** Two thousand packets a second to nobody use up the answers that there are for those. */
async function besideFlood(from: Pod, task: () => Promise<void>): Promise<void> {
  const toNobody = async () => (await cluster.agent(1).status()).dataPlane?.dropped["noRoute"] ?? 0;
  const before = await toNobody();
  const script = `const s=require("node:dgram").createSocket("udp4");setInterval(()=>{for(let i=0;i<10;i++)s.send("x",9,"10.5.254.9",()=>{})},5)`;
  const flood = from.namespace.spawn([process.execPath, "-e", script], { stdio: "ignore" });
  try {
    await until(async () => (await toNobody()) > before + 500, { what: "packets to nobody" });
    await task();
  } finally {
    flood.kill("SIGKILL");
  }
}

/** By the agent, about an address of that number beside `to`; its own kernel remembers it for each address. */
async function isToldAtOnce(from: Pod, to: Pod, number: number): Promise<boolean> {
  const host = (to.ipv4 ?? "").replace(/\d+$/, String(number));
  const told = await from.namespace.tryRun(["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "1404", host]);
  return /mtu ?= ?1272/.test(told.stdout);
}
