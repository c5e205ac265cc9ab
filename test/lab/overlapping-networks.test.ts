// Two networks with the same addresses on the same hosts: each has a routing table of its own, and rules lead there by the
// bridge that a packet comes from.
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { Etcd } from "../../lab/etcd.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";

const networks = [
  { name: "red", table: 101, Backend: { Type: "vxlan", VNI: 21 } },
  { name: "blue", table: 102, Backend: { Type: "host-gw" } },
] as const;

function configOf({ name, table, Backend }: (typeof networks)[number]) {
  // Four subnets for two hosts with two networks each.
  return {
    ...{ Network: "10.9.0.0/22", SubnetLen: 24, SubnetMin: "10.9.0.0" },
    ...{ RoutingTable: table, RoutingRules: [{ IncomingDevice: `br-${name}` }], Backend },
  };
}

describe("two networks with the same addresses", () => {
  const resources = new AsyncDisposableStack();
  const agents: LabAgent[] = [];
  const pods = new Map<string, readonly Pod[]>();
  let lan: Lan;
  let etcd: Etcd;
  const agentOf = (number: number) => agents[number - 1] ?? expect.fail(`no agent on host ${number}`);
  const start = (number: number) => {
    const args = ["--networks=red,blue", "--ip-masq"];
    const options = { isSeveral: true, etcdEndpoints: etcd.endpoints, args };
    agents[number - 1] = resources.use(LabAgent.start(lan.host(number), options));
  };
  const table = async (number: number) =>
    (await lan.host(1).namespace.ip("route", "show", "table", String(number))).trim();

  beforeAll(async () => {
    lan = resources.use(await createLan({ hosts: 2 }));
    for (const { runDirectory } of lan.hosts) resources.defer(() => rm(runDirectory, { recursive: true, force: true }));
    etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    for (const network of networks) {
      await etcd.put(`/coreos.com/network/${network.name}/config`, JSON.stringify(configOf(network)));
    }
    start(1);
    start(2);
    for (const { name } of networks) {
      const made: Pod[] = [];
      for (const agent of agents) {
        await agent.untilNetworkReady(name, 1);
        const devices = { bridge: `br-${name}`, port: `port-${name}` };
        made.push(
          await attachPod(agent.host, await agent.untilNetworkEnv(name), `${agent.host.name}-${name}`, devices),
        );
      }
      pods.set(name, made);
    }
  });
  afterAll(() => resources.disposeAsync());

  it("containers of each reach each other", async () => {
    for (const { name } of networks) await untilAllPing(pods.get(name) ?? []);
  });

  it("the subnets of one host do not overlap, and routes stand in the networks' own tables alone", async () => {
    const subnets = await Promise.all(
      networks.map(async ({ name }) => (await agentOf(1).networkStatus(name)).lease?.subnet),
    );
    expect(new Set(subnets).size).toBe(2);
    expect(await table(101)).toMatch(/^10\.9\.\d\.0\/24 via 10\.9\.\d\.0 dev flannel\.21 onlink\s*$/);
    expect(await table(102)).toMatch(/^10\.9\.\d\.0\/24 via 192\.168\.50\.12 dev eth0 proto 241\s*$/);
    expect((await table(254)).split("\n").filter((line) => /flannel|via 192\.168\.50\.12/.test(line))).toEqual([]);
    expect(await lan.host(1).namespace.run(["nft", "list", "ruleset"])).not.toContain("masquerade");
    expect(await lan.host(1).namespace.run(["iptables-save", "-t", "nat"])).not.toContain("MASQUERADE");
  });

  it("no packet goes from one to the other", async () => {
    const [red] = pods.get("red") ?? [];
    const blue = (pods.get("blue") ?? [])[1]?.ipv4;
    const redSubnets = (pods.get("red") ?? []).map(({ ipv4 }) => ipv4);
    if (red === undefined || blue === undefined) throw new Error("no containers");
    if (!redSubnets.includes(blue)) expect(await ping(red.namespace, blue)).toBeUndefined();
  });

  it("rules and routes that somebody removes come back", async () => {
    const { namespace } = lan.host(1);
    await namespace.ip("rule", "del", "priority", "2410", "iif", "br-red");
    await namespace.ip("route", "flush", "table", "102");
    await until(async () => (await namespace.ip("rule", "show")).includes("iif br-red lookup 101 proto 241"), {
      what: "the rule to come back",
    });
    await until(async () => (await table(102)) !== "", { what: "the route to come back" });
    for (const { name } of networks) await untilAllPing(pods.get(name) ?? []);
  });

  it("started again it changes nothing; without a network its rules and routes are gone", async () => {
    const { namespace } = lan.host(1);
    const before = await namespace.ip("rule", "show");
    await agentOf(1).kill9();
    start(1);
    for (const { name } of networks) await agentOf(1).untilNetworkReady(name, 1);
    expect(await namespace.ip("rule", "show")).toBe(before);
    expect((await agentOf(1).networkStatus("red")).repairs.total).toBe(0);
    await agentOf(1).term();
    const args = ["--networks=red"];
    agents[0] = resources.use(LabAgent.start(lan.host(1), { isSeveral: true, etcdEndpoints: etcd.endpoints, args }));
    await agentOf(1).untilEvent("network.removed");
    expect(await namespace.ip("rule", "show")).not.toContain("br-blue");
    expect(await table(102)).toBe("");
    await untilAllPing(pods.get("red") ?? []);
  });
});
