// Several networks in one agent: each with its own lease, devices, rules and subnet file, side by side on the same hosts.
// They come and go in the store; what happens to one costs the others no packet.
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { Etcd } from "../../lab/etcd.ts";
import { link, routes } from "../../lab/kernel-view.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { ContinuousPing, ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";

const HOSTS = 3;
const PREFIX = "/coreos.com/network";
const configs: Readonly<Record<string, unknown>> = {
  red: { Network: "10.1.0.0/16", Backend: { Type: "vxlan", VNI: 11 } },
  green: { Network: "10.2.0.0/16", Backend: { Type: "host-gw" } },
  blue: { Network: "10.3.0.0/16", Backend: { Type: "udp" } },
};

describe("vxlan, host-gw and udp on three hosts", () => {
  const resources = new AsyncDisposableStack();
  const agents: LabAgent[] = [];
  const pods = new Map<string, readonly Pod[]>();
  let lan: Lan;
  let etcd: Etcd;

  const putConfig = (name: string, config: unknown) => etcd.put(`${PREFIX}/${name}/config`, JSON.stringify(config));
  const leases = async (name: string) => (await etcd.list(`${PREFIX}/${name}/subnets/`)).map(({ key }) => key);
  const podsOf = (name: string) => pods.get(name) ?? [];
  const agentOf = (number: number) => agents[number - 1] ?? expect.fail(`no agent on host ${number}`);
  const startAgent = (number: number) => {
    const args = ["--watch-networks", "--ip-masq"];
    const options = { isSeveral: true, etcdEndpoints: etcd.endpoints, args };
    agents[number - 1] = resources.use(LabAgent.start(lan.host(number), options));
  };
  const untilReady = async (name: string) => {
    for (const agent of agents) await agent.untilNetworkReady(name, HOSTS - 1);
  };
  const attachPods = async (name: string) => {
    const made: Pod[] = [];
    for (const agent of agents) {
      const devices = { bridge: `br-${name}`, port: `port-${name}` };
      made.push(await attachPod(agent.host, await agent.untilNetworkEnv(name), `${agent.host.name}-${name}`, devices));
    }
    pods.set(name, made);
  };
  /** Pings from the first to the second host's container of each network, while `during` happens. */
  const lostWhile = async (names: readonly string[], during: () => Promise<void>) => {
    await using pings = new AsyncDisposableStack();
    const running: ContinuousPing[] = [];
    for (const name of names) {
      const [first, second] = podsOf(name);
      if (first === undefined || second?.ipv4 === undefined) throw new Error(`network ${name} has no containers`);
      running.push(pings.use(await ContinuousPing.start(first.namespace, second.ipv4)));
    }
    await during();
    const lost: Record<string, readonly number[]> = {};
    for (const [index, probe] of running.entries()) lost[names[index] ?? ""] = (await probe.stop()).lost;
    return lost;
  };

  beforeAll(async () => {
    lan = resources.use(await createLan({ hosts: HOSTS }));
    for (const { runDirectory } of lan.hosts) resources.defer(() => rm(runDirectory, { recursive: true, force: true }));
    etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    for (const number of [1, 2, 3]) startAgent(number);
    // The agents run already: what is written first must not be missed.
    await Promise.all(agents.map((agent) => agent.untilEvent("store.connected")));
    for (const [name, config] of Object.entries(configs)) await putConfig(name, config);
    for (const name of Object.keys(configs)) {
      await untilReady(name);
      await attachPods(name);
    }
  });
  afterAll(() => resources.disposeAsync());

  it("containers of one network reach each other", async () => {
    for (const name of Object.keys(configs)) await untilAllPing(podsOf(name));
  });

  it("no packet goes from one network to another, on one host or between two", async () => {
    const names = Object.keys(configs);
    const pairs = names.flatMap((from) =>
      podsOf(from).flatMap((source) =>
        names.filter((to) => to !== from).flatMap((to) => podsOf(to).map((target) => ({ source, target }))),
      ),
    );
    expect(pairs).toHaveLength(HOSTS * HOSTS * names.length * (names.length - 1));
    const looks = pairs.map(async ({ source, target }) => {
      const address = target.ipv4 ?? expect.fail(`${target.name} has no address`);
      return (await ping(source.namespace, address)) === undefined ? [] : [`${source.name} to ${target.name}`];
    });
    expect((await Promise.all(looks)).flat()).toEqual([]);
  });

  it("the status tells of each network, and of the agent as a whole", async () => {
    const { networks, reasons } = await agentOf(1).wholeStatus();
    expect(networks.map((one) => [one.name, one.reasons]).sort()).toEqual([
      ["blue", []],
      ["green", []],
      ["red", []],
    ]);
    expect(reasons).toEqual([]);
  });

  it("one that is deleted leaves the host but keeps its lease; written again it has the same one; the others lose nothing", async () => {
    const before = await leases("red");
    const { namespace } = lan.host(1);
    /** Traffic rules by network, as far as they name its addresses. */
    const rules = async () => {
      const lines = (await namespace.run(["iptables-save"])).split("\n");
      const of = (part: string) => lines.filter((line) => line.includes(part)).sort();
      return { red: of("10.1."), green: of("10.2."), blue: of("10.3.") };
    };
    const rulesBefore = await rules();
    expect(Object.values(rulesBefore).every((lines) => lines.length > 0)).toBe(true);
    const lost = await lostWhile(["green", "blue"], async () => {
      await etcd.delete(`${PREFIX}/red/config`);
      for (const agent of agents) await agent.untilEvent("network.removed");
      expect(await link(namespace, "flannel.11")).toBeUndefined();
      expect((await routes(namespace)).filter((line) => line.startsWith("10.1."))).toEqual([
        expect.stringContaining("dev br-red"),
      ]);
      expect(await rules()).toEqual({ ...rulesBefore, red: [] });
      expect(existsSync(agentOf(1).networkFile("red"))).toBe(false);
      expect((await agentOf(1).wholeStatus()).networks.map(({ name }) => name)).not.toContain("red");
      expect(await leases("red")).toEqual(before);
      await putConfig("red", configs["red"]);
      await untilReady("red");
      await untilAllPing(podsOf("red"));
      expect(await rules()).toEqual(rulesBefore);
    });
    expect(lost).toEqual({ green: [], blue: [] });
    expect(await leases("red")).toEqual(before);
  });

  it("a broken config, a pool without a free subnet, a VNI and a port twice: each is refused by name, alone", async () => {
    const alloc = { Type: "alloc" };
    const refused = {
      broken: '{"Network": "10.4.0.0/16", "Backend": {"Type": "vxlan", "VNI": "many"}}',
      tiny: { Network: "10.5.0.0/24", SubnetLen: 26, SubnetMin: "10.5.0.64", SubnetMax: "10.5.0.64", Backend: alloc },
      samevni: { Network: "10.6.0.0/16", Backend: { Type: "vxlan", VNI: 11 } },
      sameport: { Network: "10.7.0.0/16", Backend: { Type: "udp" } },
      inside: { Network: "10.2.128.0/17", Backend: { Type: "host-gw" } },
      owntable: { Network: "10.8.0.0/16", RoutingTable: 2410, Backend: { Type: "host-gw" } },
    };
    const lost = await lostWhile(Object.keys(configs), async () => {
      for (const [name, config] of Object.entries(refused)) {
        await etcd.put(`${PREFIX}/${name}/config`, typeof config === "string" ? config : JSON.stringify(config));
      }
      const said = async (name: string) =>
        (await Promise.all(agents.map((agent) => agent.networkStatus(name).catch(() => undefined)))).flatMap(
          (status) => status?.reasons?.map(({ message }) => message) ?? [],
        );
      const expected = {
        broken: /VNI/,
        tiny: /no subnet is free|no free subnet|exhausted|all subnets/i,
        samevni: /device flannel\.11 is in use by network red.*VNI/,
        sameport: /device flannel0 is in use by network blue.*Port/,
        owntable: /RoutingTable 2410 must be the number of a routing table of its own/,
        inside: /network 10\.2\.128\.0\/17 overlaps 10\.2\.0\.0\/16 of network green/,
      };
      for (const [name, text] of Object.entries(expected)) {
        await until(async () => (await said(name)).some((line) => text.test(line)), {
          what: `${name} to be refused: ${JSON.stringify(await said(name))}`,
        });
      }
      const { state, reasons, networks } = await agentOf(1).wholeStatus();
      expect(state, JSON.stringify(reasons)).not.toBe("notReady");
      expect(reasons.filter(({ name }) => name === "network-not-ready").map(({ message }) => message)).toEqual(
        expect.arrayContaining([expect.stringContaining("network broken"), expect.stringContaining("network samevni")]),
      );
      for (const name of Object.keys(configs)) {
        expect(networks.find((one) => one.name === name)?.reasons).toEqual([]);
      }
      for (const name of Object.keys(refused)) await etcd.delete(`${PREFIX}/${name}/config`);
      await until(async () => (await agentOf(1).wholeStatus()).networks.length === 3, { what: "three networks left" });
    });
    expect(lost).toEqual({ red: [], green: [], blue: [] });
  });

  it("flannelctl tells of all networks, or of one, and changes one", async () => {
    const { host, controlSocket, directory } = agentOf(1);
    const ctl = (...words: string[]) =>
      host.namespace.tryRun([
        ...["bin/flannelctl", `--socket=${controlSocket}`, `--subnet-dir=${directory}/networks`],
        ...[`--state-dir=${directory}/state`, `--etcd-endpoints=${etcd.endpoints}`, ...words],
      ]);
    const all = await ctl("status");
    for (const name of Object.keys(configs)) expect(all.stdout).toContain(`${name}, ready`);
    const red = JSON.parse((await ctl("status", "--network=red", "--json")).stdout);
    expect(red.networks.map(({ name }: { name: string }) => name)).toEqual(["red"]);
    expect((await ctl("wait", "--network=red")).exitCode).toBe(0);
    expect((await ctl("reload")).stdout).toMatch(/^reloaded/);
    expect((await ctl("plan", "--network=green")).stdout).toContain("proto 241");
    const [lease] = JSON.parse((await ctl("lease", "list", "--network=blue", "--json")).stdout).leases;
    expect(lease.subnet).toMatch(/^10\.3\./);
    expect(await ctl("status", "--network=none")).toMatchObject({ stderr: expect.stringContaining("it serves: ") });
    expect((await ctl("cleanup", "--network=red")).stderr).toContain("stop that agent first");
    expect((await ctl("status", "--network=../x")).stderr).toContain("--network is the name of a network");
    for (const words of [
      ["lease", "list"],
      ["config", "get"],
    ]) {
      const asked = await ctl(...words);
      expect(asked.exitCode).toBe(2);
      expect(asked.stderr).toMatch(/serves several networks: name one with --network \(.*red.*\)/);
    }
    expect((await ctl("lease", "list", "--etcd-prefix=/elsewhere")).stdout).toBe("no leases\n");
  });

  it("killed and started again: no packet is lost where the kernel carries it, and each network goes on", async () => {
    const lost = await lostWhile(["red", "green"], async () => {
      await agentOf(1).kill9();
      startAgent(1);
      for (const name of Object.keys(configs)) await agentOf(1).untilNetworkReady(name, HOSTS - 1);
    });
    expect(lost).toEqual({ red: [], green: [] });
    await untilAllPing(podsOf("blue"));
  });

  it("what left while the agent was away is removed when it starts", async () => {
    const { namespace } = lan.host(1);
    await agentOf(1).term();
    await etcd.delete(`${PREFIX}/red/config`);
    expect(await link(namespace, "flannel.11")).toBeDefined();
    startAgent(1);
    await agentOf(1).untilEvent("network.removed");
    expect(await link(namespace, "flannel.11")).toBeUndefined();
    expect(await link(namespace, "flannel0")).toBeDefined();
    await putConfig("red", configs["red"]);
    await untilReady("red");
    await untilAllPing(podsOf("red"));
  });

  it("cleans up after an agent that does not run: one network, then all", async () => {
    const { host, directory } = agentOf(1);
    await agentOf(1).term();
    const cleanUp = (...words: string[]) =>
      host.namespace.run(
        [
          ...["bin/flannelctl", "cleanup", `--subnet-dir=${directory}/networks`, `--state-dir=${directory}/state`],
          ...words,
        ],
        { env: { ...process.env, FLANNELD_WATCH_NETWORKS: "true" } },
      );
    await cleanUp("--network=red");
    expect(await link(host.namespace, "flannel.11")).toBeUndefined();
    expect(await link(host.namespace, "flannel0")).toBeDefined();
    await cleanUp("--all");
    expect(await link(host.namespace, "flannel0")).toBeUndefined();
    expect((await routes(host.namespace)).filter((line) => line.includes("proto 241"))).toEqual([]);
    expect(await host.namespace.ip("rule", "show")).not.toContain("proto 241");
    expect((await host.namespace.ip("route", "show", "table", "all")).split("prohibit")).toHaveLength(1);
    expect(existsSync(agentOf(1).networkFile("green"))).toBe(false);
  });
});
