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

const MARK = 16;
/** By host, as they are reserved: 10.9.1.0/24 is red on the second host and blue on the first one. */
const networks = [
  { name: "red", table: 101, subnets: ["10.9.0.0/24", "10.9.1.0/24"], Backend: { Type: "vxlan", VNI: 21 } },
  { name: "blue", table: 102, subnets: ["10.9.1.0/24", "10.9.2.0/24"], Backend: { Type: "host-gw" } },
] as const;

function configOf({ name, table, Backend }: (typeof networks)[number]) {
  // By source: packets of the host itself, from an address that it has for that; by mark: whoever sets one.
  const more = name === "red" ? [{ From: "10.9.0.77/32" }, { Mark: MARK }] : [];
  return {
    ...{ Network: "10.9.0.0/22", SubnetLen: 24, SubnetMin: "10.9.0.0" },
    ...{ RoutingTable: table, RoutingRules: [{ IncomingDevice: `br-${name}` }, ...more], Backend },
  };
}

/** Echo requests that a container took so far. */
async function echoesAt({ namespace }: Pod): Promise<number> {
  const [names = "", values = ""] = (await namespace.run(["cat", "/proc/net/snmp"])).match(/^Icmp:.*$/gm) ?? [];
  return Number(values.split(" ")[names.split(" ").indexOf("InEchos")]);
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
  const podOf = (name: string, number: number) => pods.get(name)?.[number - 1] ?? expect.fail(`no ${name} container`);
  const addressOf = (name: string, number: number) => podOf(name, number).ipv4 ?? expect.fail(`${name} has no address`);
  const table = async (number: number) =>
    (await lan.host(1).namespace.ip("route", "show", "table", String(number))).trim();

  beforeAll(async () => {
    lan = resources.use(await createLan({ hosts: 2 }));
    for (const { runDirectory } of lan.hosts) resources.defer(() => rm(runDirectory, { recursive: true, force: true }));
    etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    for (const network of networks) {
      const prefix = `/coreos.com/network/${network.name}`;
      await etcd.put(`${prefix}/config`, JSON.stringify(configOf(network)));
      for (const [index, subnet] of network.subnets.entries()) {
        const reservation = { PublicIP: lan.host(index + 1).ipv4, PublicIPv6: null };
        await etcd.put(`${prefix}/subnets/${subnet.replace("/", "-")}`, JSON.stringify(reservation));
      }
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

  it("no packet for an address of one network goes to a container of the other", async () => {
    // An address that both have: each finds its own container, though the other one is nearer.
    expect(addressOf("red", 2)).toBe(addressOf("blue", 1));
    for (const [name, from, to, other] of [
      ["red", 1, 2, podOf("blue", 1)],
      ["blue", 2, 1, podOf("red", 2)],
    ] as const) {
      const [own, others] = [await echoesAt(podOf(name, to)), await echoesAt(other)];
      expect(await ping(podOf(name, from).namespace, addressOf(name, to))).toBeDefined();
      expect([await echoesAt(podOf(name, to)), await echoesAt(other)]).toEqual([own + 1, others]);
    }
    // Addresses that only the other one has, on the same host and the other one.
    const pairs = [1, 2].flatMap((number) => [
      ["red", number, addressOf("blue", 2)] as const,
      ["blue", number, addressOf("red", 1)] as const,
    ]);
    const answers = await Promise.all(pairs.map(([name, from, to]) => ping(podOf(name, from).namespace, to)));
    expect(answers).toEqual(pairs.map(() => undefined));
  });

  it("a VPN's rule beside it, for more addresses, does not win", async () => {
    for (const { namespace } of lan.hosts) {
      // As Tailscale has them, with a route for everything.
      await namespace.ipBatch(["link add dev vpn0 type bridge", "link set dev vpn0 up"]);
      await namespace.ip("route", "add", "10.0.0.0/8", "dev", "vpn0", "table", "52");
      await namespace.ip("rule", "add", "priority", "5270", "lookup", "52");
    }
    // docs/several-networks.md: where packets come by no device of the network.
    for (const [index, subnet] of networks[1].subnets.entries()) {
      await lan.host(index + 1).namespace.ip("rule", "add", "to", subnet, "priority", "2413", "lookup", "main");
    }
    for (const { name } of networks) await untilAllPing(pods.get(name) ?? []);
    // The host's own packets match no rule: theirs is the way of the VPN.
    expect(await lan.host(1).namespace.ip("route", "get", addressOf("blue", 2))).toContain("dev vpn0");
  });

  it("rules by source and by mark lead the host's own packets there, beside that VPN", async () => {
    const { namespace } = lan.host(1);
    await namespace.ip("address", "add", "10.9.0.77/32", "dev", "lo");
    const to = addressOf("red", 2);
    const answer = (...words: string[]) => namespace.tryRun(["ping", "-n", "-c", "1", "-W", "1", ...words, to]);
    const before = await echoesAt(podOf("red", 2));
    expect(await answer("-I", "10.9.0.77")).toMatchObject({ exitCode: 0 });
    expect(await answer("-m", String(MARK))).toMatchObject({ exitCode: 0 });
    expect(await echoesAt(podOf("red", 2))).toBe(before + 2);
    // Without them the container of the other network is meant, which this host has itself.
    const near = await echoesAt(podOf("blue", 1));
    await answer();
    expect([await echoesAt(podOf("red", 2)), await echoesAt(podOf("blue", 1))]).toEqual([before + 2, near + 1]);
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
