// `--path-mtu=repair` while the path changes under running agents: it shrinks, and the route and the MSS of TCP fit it; it grows, and
// both are taken away. An agent looks at a good path every two minutes, and believes in more when it found it twice.
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster } from "../../../lab/cluster.ts";
import { narrowLeg, type Undo } from "../../../lab/faults.ts";
import { until } from "../../../lab/wait.ts";
import { transfersUnharmed } from "../../support/traffic.ts";

const LOOKS = { timeoutMs: 480_000 };
let cluster: Cluster;
let subnet: string;
let widen: Undo;

beforeAll(async () => {
  cluster = await Cluster.start({
    ...{ hosts: 1, routedHosts: 1, args: ["--path-mtu=repair"] },
    config: { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } },
  });
  await cluster.untilReady();
  // A firewall on the way that takes no pieces of packets.
  for (const { namespace } of cluster.lan.hosts) {
    await namespace.run(["iptables", "-t", "raw", "-A", "PREROUTING", "-i", "eth0", "-f", "-j", "DROP"]);
  }
  subnet = (await cluster.agent(2).status()).lease?.subnet ?? "";
});
afterAll(() => cluster[Symbol.asyncDispose]());

const routeLine = () => cluster.lan.host(1).namespace.run(["ip", "route", "show", subnet]);
const mangle = () => cluster.lan.host(1).namespace.run(["iptables-save", "-t", "mangle"]);
const pathOf = async () => (await cluster.agent(1).status()).probes?.paths[0];
const passes = async () => {
  const [from, to] = [cluster.pod(1), cluster.pod(2)];
  return await transfersUnharmed(from.namespace, to.namespace, to.ipv4 ?? "", 2_000_000);
};

it("leaves a path alone that carries full packets", { timeout: 2 * LOOKS.timeoutMs }, async () => {
  await until(async () => (await pathOf())?.mtu?.wholeBytes === 1_450, { what: "the path MTU", ...LOOKS });
  expect(await routeLine()).not.toContain("mtu");
  expect(await mangle()).not.toContain("FLANNEL-MSS");
  expect(await passes()).toBe(true);
});

it("fits the host to a path that shrinks", { timeout: 2 * LOOKS.timeoutMs }, async () => {
  widen = await narrowLeg(cluster.lan.host(2).segment, 1_300);
  const { namespace } = cluster.pod(2);
  await namespace.run(["iptables", "-A", "INPUT", "-p", "icmp", "--icmp-type", "fragmentation-needed", "-j", "DROP"]);
  await Promise.all([1, 2].map((number) => cluster.agent(number).untilEvent("path-mtu.lowered", LOOKS)));
  await until(async () => / mtu 12\d\d/.test(await routeLine()), { what: "the route's mtu" });
  await until(async () => (await mangle()).includes("--clamp-mss-to-pmtu"), { what: "the MSS clamp" });
  expect(await passes()).toBe(true);
});

it("takes route and clamp away when the path grows", { timeout: 2 * LOOKS.timeoutMs }, async () => {
  await widen();
  // Kernels keep the size of a path that a router told for ten minutes, and fragment the tunnel's packets as long.
  for (const { namespace } of cluster.lan.hosts) await namespace.ip("route", "flush", "cache");
  expect(await cluster.agent(1).untilEvent("path-mtu.restored", LOOKS)).toContain(subnet);
  await until(async () => !(await routeLine()).includes("mtu"), { what: "the route without mtu" });
  await until(async () => !(await mangle()).includes("--clamp-mss-to-pmtu"), { what: "no MSS clamp" });
  expect(await pathOf()).not.toHaveProperty("routeMtuBytes");
  expect((await cluster.agent(1).status()).findings.map(({ name }) => name)).not.toContain("mtu-path-smaller");
  expect(await passes()).toBe(true);
});
