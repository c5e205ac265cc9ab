// IPv6 turned on in a running network, on hosts with and without an IPv6 address, and an address that comes and goes.
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { LabAgent, LabStatus } from "../../lab/agent.ts";
import { Cluster } from "../../lab/cluster.ts";
import { leases } from "../../lab/lease-view.ts";
import { expectedOverlay, overlayLines } from "../../lab/overlay-view.ts";
import { ContinuousPing, untilAllPing } from "../../lab/probe.ts";
import { until, untilLines } from "../../lab/wait.ts";

const ipv4 = { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } };
const dual = { ...ipv4, EnableIPv6: true, IPv6Network: "fd00:5::/48" };
const configKey = "/coreos.com/network/config";
let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 2, ipv6: true, config: ipv4 });
  await untilAllPing(cluster.pods);
});

afterAll(() => cluster[Symbol.asyncDispose]());

async function untilStatus(agent: LabAgent, what: string, holds: (status: LabStatus) => boolean): Promise<LabStatus> {
  const look = async () => {
    const status = await agent.status();
    if (!holds(status)) throw new Error(JSON.stringify([status.state, status.reasons, status.lease]));
    return true;
  };
  await until(look, { what });
  return agent.status();
}

const lacksIpv6 = ({ state, reasons }: LabStatus) =>
  state === "degraded" && reasons.map(({ name }) => name).join() === "family-missing";
const isReady = ({ state }: LabStatus) => state === "ready";
const subnetOf = (agent: LabAgent) => agent.status().then(({ lease }) => lease?.subnet);

it("keeps the IPv4 subnets; a host without an IPv6 address serves IPv4 and says so", async () => {
  const [first, second] = [cluster.agent(1), cluster.agent(2)];
  const before = [await subnetOf(first), await subnetOf(second)];
  await cluster.lan.host(2).namespace.ip("-6", "addr", "flush", "dev", "eth0", "scope", "global");
  await cluster.etcd.put(configKey, JSON.stringify(dual));
  await using traffic = await ContinuousPing.start(cluster.pod(1).namespace, cluster.pod(2).ipv4 ?? "");
  for (const number of [1, 2]) {
    await cluster.agent(number).term();
    cluster.startAgent(number);
  }
  const [both, alone] = [cluster.agent(1), cluster.agent(2)];
  await untilStatus(both, "host 1 to serve both families", isReady);
  const { reasons } = await untilStatus(alone, "host 2 to serve IPv4", lacksIpv6);
  expect(reasons[0]?.message).toMatch(
    /^IPv4 alone is served: (interface eth0 has no usable IPv6 address|there is no IPv6)/,
  );
  expect([await subnetOf(both), await subnetOf(alone)]).toEqual(before);
  const [one, two] = await leases(cluster.etcd);
  expect([one, two].map((lease) => lease?.ipv6Subnet !== undefined).sort()).toEqual([false, true]);
  expect(await readFile(alone.subnetFile, "utf8")).not.toContain("IPV6");
  expect((await traffic.stop()).lost).toEqual([]);
});

it("serves IPv6 as soon as the address comes, by itself, and IPv4 goes on", async () => {
  const agent = cluster.agent(2);
  const before = await subnetOf(agent);
  const { namespace, ipv6 } = cluster.lan.host(2);
  await using traffic = await ContinuousPing.start(cluster.pod(1).namespace, cluster.pod(2).ipv4 ?? "");
  await namespace.ipBatch([`addr add ${ipv6}/64 dev eth0`, "route replace default via fd00:50::1 dev eth0"]);
  const { lease } = await untilStatus(
    agent,
    "IPv6",
    (status) => isReady(status) && status.lease?.ipv6Subnet !== undefined,
  );
  expect(lease?.subnet).toBe(before);
  for (const { host } of cluster.agents) {
    const expected = expectedOverlay(host, await leases(cluster.etcd), { backend: "vxlan" });
    await untilLines(() => overlayLines(host.namespace), expected, { what: `${host.name} to follow` });
  }
  expect((await traffic.stop()).lost).toEqual([]);
});

it("keeps the lease with both subnets while the address is away, running and at a start", async () => {
  const { namespace, ipv6 } = cluster.lan.host(2);
  const { lease } = await cluster.agent(2).status();
  const value = async () => (await cluster.etcd.get(`/coreos.com/network/subnets/${lease?.key}`))?.value;
  const before = await value();
  await namespace.ip("-6", "addr", "flush", "dev", "eth0", "scope", "global");
  // Probes over IPv6 can find nothing now, and would call each peer down.
  const probesIpv4 = ({ probes }: LabStatus) =>
    probes?.paths.map(({ subnet }) => subnet.includes(":")).join() === "false";
  await untilStatus(cluster.agent(2), "the loss to be told", (status) => lacksIpv6(status) && probesIpv4(status));
  await untilAllPing(cluster.pods);
  await cluster.agent(2).term();
  cluster.startAgent(2);
  await untilStatus(cluster.agent(2), "a start without IPv6", lacksIpv6);
  expect(await value()).toBe(before);
  await namespace.ipBatch([`addr add ${ipv6}/64 dev eth0`, "route replace default via fd00:50::1 dev eth0"]);
  await untilStatus(cluster.agent(2), "IPv6 again", isReady);
  expect(await value()).toBe(before);
  await untilAllPing(cluster.pods);
});
