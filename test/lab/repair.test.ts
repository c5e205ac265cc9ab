// Somebody breaks on a living host what flannel keeps there: it comes back, containers reach each other again, and the
// repair is counted.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { Cluster } from "../../lab/cluster.ts";
import { linkDown } from "../../lab/faults.ts";
import { fdb, link } from "../../lab/kernel-view.ts";
import { leases } from "../../lab/lease-view.ts";
import type { Namespace } from "../../lab/namespace.ts";
import { expectedOverlay, type OverlayForm, overlayLines } from "../../lab/overlay-view.ts";
import type { Pod } from "../../lab/pod.ts";
import { ContinuousPing, ping, untilAllPing } from "../../lab/probe.ts";
import { until, untilLines } from "../../lab/wait.ts";

let cluster: Cluster;

async function untilWhole(agent: LabAgent, form: OverlayForm): Promise<void> {
  const expected = expectedOverlay(agent.host, await leases(cluster.etcd), form);
  await untilLines(() => overlayLines(agent.host.namespace), expected, { what: `${agent.host.name} to be repaired` });
}

/** Breaks something under a running ping and waits until all is as it was. */
/** A change of the state is told after 10 s. */
async function untilNotReady(agent: LabAgent): Promise<void> {
  await until(async () => (await agent.status()).state === "notReady", { what: "not ready", timeoutMs: 45_000 });
}

async function expectRepair(number: number, form: OverlayForm, breakIt: (host: Namespace) => Promise<unknown>) {
  const agent = cluster.agent(number);
  const before = (await agent.status()).repairs.total;
  const logged = agent.events("host.repaired").length;
  const other = cluster.pod((number % cluster.pods.length) + 1);
  await using traffic = await ContinuousPing.start(cluster.pod(number).namespace, other.ipv4 ?? "");
  await breakIt(agent.host.namespace);
  await agent.untilEvent("host.repaired", { after: logged });
  await untilWhole(agent, form);
  await traffic.more(20);
  await until(async () => (await agent.status()).repairs.total > before, { what: "the repair to be counted" });
  const { total } = (await agent.status()).repairs;
  const measured = Object.values(await agent.metric("flannel_repairs_total"));
  expect(measured.reduce((sum, value) => sum + value, 0)).toBeGreaterThanOrEqual(total);
  await agent.untilReady({ peers: cluster.agents.length - 1 });
  await untilAllPing(cluster.pods);
}

const devices = ["flannel.1", "flannel-v6.1"] as const;

/** The same `ip` lines for both devices, in one process. */
function onDevices(lines: (device: string) => readonly string[]): (host: Namespace) => Promise<void> {
  return (host) => host.ipBatch(devices.flatMap(lines));
}

async function deleteForwardingEntries(host: Namespace): Promise<void> {
  for (const device of devices) {
    for (const line of await fdb(host, device)) {
      const [mac = "", , destination = ""] = line.split(" ");
      await host.bridge("fdb", "del", mac, "dev", device, "dst", destination, "self");
    }
  }
}

async function misleadForwardingEntries(host: Namespace): Promise<void> {
  for (const line of await fdb(host, "flannel.1")) {
    const [mac = ""] = line.split(" ");
    await host.bridge("fdb", "replace", mac, "dev", "flannel.1", "dst", "192.168.50.99", "self", "permanent");
  }
}

/** Other MACs for the peers' gateways, other gateways for their subnets. */
async function misleadPeers(host: Namespace): Promise<void> {
  const found = (await host.ip("-4", "route", "show", "dev", "flannel.1")).matchAll(/^(\S+) via (\S+)/gm);
  const lines = [...found].flatMap(([, subnet, gateway]) => [
    `neigh replace ${gateway} lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent`,
    `route replace ${subnet} via 192.168.50.1 dev eth0`,
  ]);
  await host.ipBatch(lines);
}

/** The agent is held meanwhile: it would be faster. */
async function replaceDevice(agent: LabAgent, form: string): Promise<void> {
  agent.signal("SIGSTOP");
  await agent.host.namespace.ipBatch(["link del dev flannel.1", `link add dev flannel.1 ${form}`]);
  agent.signal("SIGCONT");
}

describe("vxlan", () => {
  const form: OverlayForm = { backend: "vxlan" };
  const vxlanDevice = "mtu 1450 type vxlan dev eth0 dstport 8472 nolearning";

  beforeAll(async () => {
    const network = { Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fd00:5::/48" };
    cluster = await Cluster.start({ hosts: 3, ipv6: true, config: { ...network, Backend: { Type: "vxlan" } } });
    await untilAllPing(cluster.pods);
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  const faults: readonly (readonly [string, (host: Namespace) => Promise<unknown>])[] = [
    ["the devices are deleted", onDevices((device) => [`link del dev ${device}`])],
    [
      "the devices are set down and up",
      onDevices((device) => [`link set dev ${device} down`, `link set dev ${device} up`]),
    ],
    ["the devices are left down", onDevices((device) => [`link set dev ${device} down`])],
    ["the MACs are changed", onDevices((device) => [`link set dev ${device} address 02:00:00:00:00:99`])],
    ["the MTU is changed", onDevices((device) => [`link set dev ${device} mtu 1300`])],
    ["learning is switched on", onDevices((device) => [`link set dev ${device} type vxlan learning`])],
    [
      "all routes are flushed",
      async (host) => {
        await host.ip("-4", "route", "flush", "dev", "flannel.1");
        await host.ip("-6", "route", "flush", "dev", "flannel-v6.1");
      },
    ],
    ["the neighbours are flushed", onDevices((device) => [`neigh flush dev ${device} nud permanent`])],
    ["the forwarding entries are deleted", deleteForwardingEntries],
    ["the addresses are removed", onDevices((device) => [`addr flush dev ${device} scope global`])],
    [
      "foreign routes, neighbours and addresses come in",
      onDevices((device) => [
        `route add ${device === "flannel.1" ? "10.99.0.0/16" : "fd00:99::/48"} dev ${device}`,
        `neigh add ${device === "flannel.1" ? "10.5.0.99" : "fd00:5::99"} lladdr 02:00:00:00:00:99 dev ${device} nud permanent`,
      ]),
    ],
    ["forwarding entries point elsewhere", misleadForwardingEntries],
    ["neighbours and routes point elsewhere", misleadPeers],
    ["the device is replaced by one of another VNI", () => replaceDevice(cluster.agent(2), `${vxlanDevice} id 9`)],
  ];

  for (const [index, [name, breakIt]] of faults.entries()) {
    it(`heals when ${name}`, () => expectRepair((index % 3) + 1, form, breakIt));
  }

  it("says whose device stands in the way, leaves it alone, and goes on when it is gone", async () => {
    const agent = cluster.agent(2);
    const { namespace } = agent.host;
    await replaceDevice(agent, "type bridge");
    const findRefusal = async () => (await agent.status()).failures.find(({ error }) => error.includes("bridge"));
    const failure = await until(findRefusal, { what: "the refusal" });
    expect(failure.error).toContain("flannel.1 exists as a bridge");
    await untilNotReady(agent);
    expect(await link(namespace, "flannel.1")).toMatchObject({ kind: "bridge" });
    await namespace.ip("link", "del", "dev", "flannel.1");
    await untilWhole(agent, form);
    await agent.untilReady({ peers: 2 });
    await untilAllPing(cluster.pods);
  });

  it("has nothing to repair when nobody breaks anything", async () => {
    const totals = () => Promise.all(cluster.agents.map(async (agent) => (await agent.status()).repairs.total));
    const before = await totals();
    const [from, to] = cluster.pods as [Pod, Pod, ...Pod[]];
    await using traffic = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
    await traffic.more(200);
    expect((await traffic.stop()).lost).toEqual([]);
    expect(await totals()).toEqual(before);
  });
});

describe("host-gw", () => {
  const form: OverlayForm = { backend: "host-gw" };

  beforeAll(async () => {
    const network = { Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fd00:5::/48" };
    cluster = await Cluster.start({ hosts: 3, ipv6: true, config: { ...network, Backend: { Type: "host-gw" } } });
    await untilAllPing(cluster.pods);
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  it("heals when all routes are flushed", () =>
    expectRepair(1, form, async (host) => {
      for (const family of ["-4", "-6"]) await host.ip(family, "route", "flush", "proto", "241");
    }));

  it("heals when routes point elsewhere", () =>
    expectRepair(2, form, async (host) => {
      const found = (await host.ip("-4", "route", "show", "proto", "241")).matchAll(/^(\S+) via/gm);
      await host.ipBatch([...found].map(([, subnet]) => `route replace ${subnet} via 192.168.50.1 dev eth0`));
    }));

  it("heals when the external link was down, during which it is not ready and says why", async () => {
    const agent = cluster.agent(3);
    const pod = cluster.pod(3);
    const undo = await linkDown(agent.host);
    await until(async () => (await agent.status()).reasons.some(({ message }) => message.includes("eth0 is down")), {
      what: "the reason",
    });
    await untilNotReady(agent);
    expect(await ping(pod.namespace, cluster.pod(1).ipv4 ?? "", { waitSeconds: 0.2 })).toBeUndefined();
    expect((await overlayLines(agent.host.namespace)).filter((line) => line.includes("dev eth0"))).toEqual([]);
    await undo();
    await untilWhole(agent, form);
    await agent.untilReady({ peers: 2 });
    await untilAllPing(cluster.pods);
  });
});
