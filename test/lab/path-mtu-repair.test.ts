// `--path-mtu=repair`: where the path to a peer is narrow and loses the pieces of large packets, its route and the MSS of TCP fit it, so
// that containers reach each other with all they send.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { narrowLeg, type Undo } from "../../lab/faults.ts";
import type { Namespace } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { transfersUnharmed } from "../support/traffic.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
let cluster: Cluster;
let h1: Namespace;
let subnet: string;
let widen: Undo;

beforeAll(async () => {
  cluster = await Cluster.start({
    ...{ hosts: 1, routedHosts: 1, withoutAgent: [1, 2], args: ["--path-mtu=repair"] },
    config: { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } },
  });
  widen = await narrowLeg(cluster.lan.host(2).segment, 1_300);
  for (const { namespace } of cluster.lan.hosts) {
    await namespace.run(["iptables", "-t", "raw", "-A", "PREROUTING", "-i", "eth0", "-f", "-j", "DROP"]);
  }
  for (const number of [1, 2]) cluster.startAgent(number);
  await cluster.untilReady();
  for (const number of [1, 2]) await cluster.attachPod(number);
  h1 = cluster.lan.host(1).namespace;
  subnet = (await cluster.agent(2).status()).lease?.subnet ?? "";
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** Kernels keep the size of a path that a router told for ten minutes, and fragment the tunnel's packets as long. */
const forgetPaths = async () => {
  for (const { namespace } of cluster.lan.hosts) await namespace.ip("route", "flush", "cache");
};
const routeLine = async () => await h1.run(["ip", "route", "show", subnet]);
const mangle = async () => await h1.run(["iptables-save", "-t", "mangle"]);
const repairedMtu = async () => Number(/ mtu (\d+)/.exec(await routeLine())?.[1] ?? 0);

it("gives the route the size that the path carries, limits the MSS, and says so", async () => {
  const agent = cluster.agent(1);
  expect(await agent.untilEvent("path-mtu.lowered")).toContain(subnet);
  await until(async () => (await repairedMtu()) > 0, { what: "the route's mtu" });
  await until(async () => (await mangle()).includes("--clamp-mss-to-pmtu"), { what: "the MSS clamp" });
  const mtu = await repairedMtu();
  expect(mtu).toBeLessThanOrEqual(1_250);
  expect(mtu).toBeGreaterThan(1_240);
  const status = await agent.status();
  expect(status.reasons).toEqual([]);
  expect(status.probes?.paths[0]).toMatchObject({ state: "up", routeMtuBytes: mtu });
  expect(status.findings.filter(({ name }) => name === "mtu-path-smaller")).toHaveLength(1);
});

it("lets TCP of containers pass, also where no ICMP tells them of the path", async () => {
  await cluster.agent(2).untilEvent("path-mtu.lowered");
  const [from, to] = [cluster.pod(1), cluster.pod(2)];
  for (const { namespace } of [from, to]) {
    const drop = ["iptables", "-A", "INPUT", "-p", "icmp", "--icmp-type", "fragmentation-needed", "-j", "DROP"];
    await namespace.run(drop);
  }
  expect(await transfersUnharmed(from.namespace, to.namespace, to.ipv4 ?? "", 1_000_000)).toBe(true);
  expect(await transfersUnharmed(to.namespace, from.namespace, from.ipv4 ?? "", 1_000_000)).toBe(true);
});

it("puts back what somebody takes away, and keeps it over a restart of the agent", async () => {
  const mtu = await repairedMtu();
  await h1.run(["iptables", "-t", "mangle", "-F", "FORWARD"]);
  await until(async () => (await mangle()).includes("-j FLANNEL-MSS"), { what: "the jump to the clamp" });
  await cluster.agent(1).kill9();
  const agent = cluster.startAgent(1);
  await agent.untilReady({ peers: 1 });
  expect(await repairedMtu()).toBe(mtu);
  expect(await mangle()).toContain("--clamp-mss-to-pmtu");
});

it("is taken away with everything else by flannelctl cleanup", async () => {
  await cluster.agent(1).term();
  expect(await repairedMtu()).toBeGreaterThan(0);
  const { subnetFile, directory } = cluster.agent(1);
  await h1.run([flannelctl, `--subnet-file=${subnetFile}`, `--state-dir=${directory}/state`, "cleanup"]);
  expect(await routeLine()).toBe("");
  expect(await mangle()).not.toContain("FLANNEL-MSS");
});

it("ends where the path grew while no agent ran", async () => {
  let agent = cluster.startAgent(1);
  await agent.untilReady({ peers: 1 });
  await until(async () => (await repairedMtu()) > 0, { what: "the route's mtu" });
  await agent.term();
  await widen();
  await forgetPaths();
  agent = cluster.startAgent(1);
  await agent.untilReady({ peers: 1 });
  expect(await repairedMtu()).toBeGreaterThan(0);
  await until(async () => (await repairedMtu()) === 0, { what: "the route without mtu" });
  await until(async () => !(await mangle()).includes("--clamp-mss-to-pmtu"), { what: "no MSS clamp" });
  expect((await agent.status()).findings.map(({ name }) => name)).not.toContain("mtu-path-smaller");
});
