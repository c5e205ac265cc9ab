// One cluster with upstream flannel: nodes of both kinds reach each other, and a host changes from one to the other and
// back without losing a packet. Upstream is a stand-in: its bytes in etcd, its kernel objects, its checks.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { Cluster } from "../../lab/cluster.ts";
import { KernelMonitor } from "../../lab/kernel-monitor.ts";
import { link, routes } from "../../lab/kernel-view.ts";
import { leaseEntryOf, leases } from "../../lab/lease-view.ts";
import type { Namespace } from "../../lab/namespace.ts";
import { expectedOverlay, type OverlayForm, overlayLines } from "../../lab/overlay-view.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { ContinuousPing, ping, untilAllPing } from "../../lab/probe.ts";
import { type UpstreamForm, UpstreamPeer } from "../../lab/upstream-peer.ts";
import { until, untilLines } from "../../lab/wait.ts";
import { RawClient } from "../etcd/fixture.ts";
import { transfersUnharmed } from "../support/traffic.ts";

let cluster: Cluster;

async function untilConsistent(agent: LabAgent, form: OverlayForm): Promise<void> {
  const expected = expectedOverlay(agent.host, await leases(cluster.etcd), form);
  const look = async () => (await overlayLines(agent.host.namespace)).map((line) => line.replace(/ nhid \d+/, ""));
  await untilLines(look, expected, { what: `${agent.host.name} to be as the leases say` });
}

/** Both directions at 10 ms, on each family they have; no packet may be lost while `act` runs. */
async function expectNoLoss(here: Pod, there: Pod, act: () => Promise<void>): Promise<void> {
  await using pings = new AsyncDisposableStack();
  const running: ContinuousPing[] = [];
  for (const [from, to] of [
    [here, there],
    [there, here],
  ] as const) {
    for (const address of [to.ipv4, to.ipv6].filter((each) => each !== undefined)) {
      running.push(pings.use(await ContinuousPing.start(from.namespace, address)));
    }
  }
  await act();
  await Promise.all(running.map((traffic) => traffic.more(50)));
  for (const traffic of running) expect((await traffic.stop()).lost).toEqual([]);
}

async function untilAddressesSettled(): Promise<void> {
  for (const { namespace } of cluster.lan.hosts) {
    const look = async () => (await namespace.ip("-6", "addr", "show", "tentative")) === "";
    await until(look, { what: "the kernel to be done with new IPv6 addresses" });
  }
}

const backends = ["vxlan", "host-gw"] as const;
/** What v0.20 to v0.28 write, and what v0.7 wrote, which both still read. */
const forms: readonly UpstreamForm[] = ["current", "seed"];
const cases = backends.flatMap((backend) => forms.map((form) => ({ backend, form })));

describe.each(cases)("$backend beside upstream ($form)", ({ backend, form: upstreamForm }) => {
  const form: OverlayForm = { backend };
  const peers: UpstreamPeer[] = [];
  const pods: Pod[] = [];
  const subnets = ["10.5.1.0/24", "10.5.2.0/24"] as const;

  /** Upstream's program on host 1 or 2, also again where something stands already. */
  async function startUpstream(number: 1 | 2): Promise<UpstreamPeer> {
    const [first, second] = subnets;
    const subnet = number === 1 ? first : second;
    const peer = await UpstreamPeer.start(cluster.lan.host(number), {
      etcd: cluster.etcd,
      subnet,
      backend,
      form: upstreamForm,
    });
    peers[number - 1] = peer;
    return peer;
  }

  beforeAll(async () => {
    const config = { Network: "10.5.0.0/16", Backend: { Type: backend } };
    cluster = await Cluster.start({ hosts: 3, withoutAgent: [1, 2, 3], config });
    for (const number of [1, 2] as const) {
      const peer = await startUpstream(number);
      pods.push(await attachPod(peer.host, peer.subnetEnv));
    }
    cluster.startAgent(3);
    await cluster.agent(3).untilReady({ peers: 2 });
    pods.push(await cluster.attachPod(3));
    for (const peer of peers) await peer.sync();
    await untilAddressesSettled();
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  it("reaches the containers behind upstream, and they reach ours", async () => {
    await untilAllPing(pods);
    await untilConsistent(cluster.agent(3), form);
    expect((await cluster.agent(3).status()).peers).toMatchObject({ known: 2, programmed: 2, skipped: [] });
  });

  it("follows a lease that upstream deletes and writes again", async () => {
    const [, peer] = peers as [UpstreamPeer, UpstreamPeer];
    await peer.stop();
    await untilConsistent(cluster.agent(3), form);
    await (await startUpstream(2)).sync();
    await untilConsistent(cluster.agent(3), form);
    await untilAllPing(pods);
  });

  it("takes over a host that upstream programmed, and leaves it to upstream again", async () => {
    const host = cluster.lan.host(1);
    const [here, , there] = pods as [Pod, Pod, Pod];
    const before = await leaseEntryOf(cluster.etcd, host.ipv4 ?? "");
    const device = await link(host.namespace, "flannel.1");
    await staleObjects(host.namespace, backend);
    await using monitor = await KernelMonitor.start(host.namespace);
    await expectNoLoss(here, there, async () => {
      await cluster.startAgent(1).untilReady({ peers: 2 });
      await untilConsistent(cluster.agent(1), form);
    });
    expect(await link(host.namespace, "flannel.1")).toEqual(device);
    const after = await leaseEntryOf(cluster.etcd, host.ipv4 ?? "");
    expect(after.key).toBe(before.key);
    const data = device === undefined ? "" : `,"BackendData":{"VNI":1,"VtepMAC":"${device.mac}"}`;
    expect(after.value).toBe(`{"PublicIP":"192.168.50.11","PublicIPv6":null,"BackendType":"${backend}"${data}}`);
    expect((await cluster.agent(1).status()).repairs.total).toBe(0);
    const events = (await monitor.lines()).filter((line) => /flannel\.1|via 192\.168\.50\./.test(line));
    if (backend === "vxlan") {
      expect(events.filter((line) => !line.includes("10.5.250.0") && !line.includes("02:00:5e:00:00:fa"))).toEqual([]);
    }

    await expectNoLoss(here, there, async () => {
      expect(await cluster.agent(1).term()).toEqual({ code: 0, signal: null });
      await (await startUpstream(1)).sync();
    });
    expect(await link(host.namespace, "flannel.1")).toEqual(device);
    await untilConsistent(cluster.agent(3), form);
    await untilAllPing(pods);
  });

  it("leaves everything in the form that upstream deletes", async () => {
    const host = cluster.lan.host(1);
    await cluster.startAgent(1).untilReady({ peers: 2 });
    await cluster.agent(1).term();
    const peer = await startUpstream(1);
    const gone = await leaseEntryOf(cluster.etcd, cluster.lan.host(2).ipv4 ?? "");
    expect((await overlayLines(host.namespace)).join("\n")).toContain("10.5.2.0");
    await peer.forget(gone.key);
    expect((await overlayLines(host.namespace)).join("\n")).not.toContain("10.5.2.0");
  });
});

/** What a lease left behind that is gone by now: upstream does not clean up at start. */
async function staleObjects(host: Namespace, backend: "vxlan" | "host-gw"): Promise<void> {
  if (backend === "host-gw") return;
  await host.ipBatch([
    "neigh replace 10.5.250.0 lladdr 02:00:5e:00:00:fa dev flannel.1 nud permanent",
    "route replace 10.5.250.0/24 via 10.5.250.0 dev flannel.1 onlink",
  ]);
  await host.bridge(
    "fdb",
    "replace",
    "02:00:5e:00:00:fa",
    "dev",
    "flannel.1",
    "dst",
    "192.168.50.250",
    "self",
    "permanent",
  );
}

/** IPv4 packets as large as upstream's containers send them, unfragmented, and IPv6 TCP at its full speed, both ways. */
async function expectFullSize(here: Pod, there: Pod): Promise<void> {
  for (const [from, to] of [
    [here, there],
    [there, here],
  ] as const) {
    expect(await ping(from.namespace, to.ipv4 ?? "", { payloadBytes: 1450 - 28 })).toBeDefined();
    expect(await transfersUnharmed(from.namespace, to.namespace, to.ipv6 ?? "", 2_000_000)).toBe(true);
  }
}

describe("a dual-stack host of upstream", () => {
  afterAll(() => cluster[Symbol.asyncDispose]());

  it("is taken over and left again; its IPv6 only gets the MTU that fits, and packets of full size pass", async () => {
    const network = { Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fd00:5::/48" };
    const config = { ...network, Backend: { Type: "vxlan" } };
    cluster = await Cluster.start({ hosts: 2, ipv6: true, withoutAgent: [1], config });
    const host = cluster.lan.host(1);
    const leased = { subnet: "10.5.1.0/24", ipv6Subnet: "fd00:5:0:1::/64" };
    const start = () => UpstreamPeer.start(host, { etcd: cluster.etcd, ...leased });
    const peer = await start();
    await peer.sync();
    await cluster.agent(2).untilReady({ peers: 1 });
    const [here, there] = [await attachPod(host, peer.subnetEnv), cluster.pod(2)];
    await untilAllPing([here, there]);
    await untilAddressesSettled();
    expect([here.mtuBytes, there.mtuBytes]).toEqual([1450, 1450]);
    await expectFullSize(here, there);
    const device = await link(host.namespace, "flannel.1");
    const deviceV6 = await link(host.namespace, "flannel-v6.1");
    await expectNoLoss(here, there, async () => {
      await cluster.startAgent(1).untilReady({ peers: 1 });
      await untilConsistent(cluster.agent(1), { backend: "vxlan" });
    });
    await expectFullSize(here, there);
    await expectNoLoss(here, there, async () => {
      await cluster.agent(1).term();
      await (await start()).sync();
    });
    await expectFullSize(here, there);
    expect(await link(host.namespace, "flannel.1")).toEqual(device);
    expect(await link(host.namespace, "flannel-v6.1")).toEqual({ ...deviceV6, mtuBytes: 1430 });
    const { key, value } = await leaseEntryOf(cluster.etcd, host.ipv4 ?? "");
    expect(key).toBe("/coreos.com/network/subnets/10.5.1.0-24&fd00:5:0:1::-64");
    expect(value).toBe(peer.value);
  });
});

describe("the return to upstream with more than 1,000 peers", () => {
  const count = 1_100;
  const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
  let pods: readonly [Pod, Pod];

  function madeUp(number: number): { readonly subnet: string; readonly value: string } {
    const [high, low] = [number >> 8, number & 255];
    const mac = `0a:00:00:00:0${high}:${low.toString(16).padStart(2, "0")}`;
    const data = { BackendType: "vxlan", BackendData: { VNI: 1, VtepMAC: mac } };
    const value = JSON.stringify({ PublicIP: `172.16.${high}.${low}`, PublicIPv6: null, ...data });
    return { subnet: `10.${100 + high}.${low}.0/24`, value };
  }

  async function writeMadeUpLeases(): Promise<void> {
    await using client = await RawClient.open(cluster.etcd.endpoints);
    for (let first = 1; first <= count; first += 100) {
      const numbers = Array.from({ length: 100 }, (_, index) => first + index);
      const entry = ({ subnet, value }: ReturnType<typeof madeUp>) =>
        [`/coreos.com/network/subnets/${subnet.replace("/", "-")}`, value] as const;
      await client.put(Object.fromEntries(numbers.map((number) => entry(madeUp(number)))));
    }
  }

  const ownRoutes = async (host: Namespace) =>
    (await routes(host)).filter((line) => line.includes("dev flannel.1") && !line.includes("proto kernel"));
  const throughNextHops = async (host: Namespace) => (await ownRoutes(host)).filter((line) => line.includes(" nhid "));

  beforeAll(async () => {
    const range = { SubnetMin: "10.1.0.0", SubnetMax: "10.99.255.0" };
    const config = { Network: "10.0.0.0/8", SubnetLen: 24, ...range, Backend: { Type: "vxlan" } };
    cluster = await Cluster.start({ hosts: 2, config });
    pods = [cluster.pod(1), cluster.pod(2)];
    await writeMadeUpLeases();
    for (const agent of cluster.agents) await agent.untilReady({ peers: count + 1 });
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  it("rewrites routes through next-hop objects as plain ones, without losing a packet", async () => {
    const agent = cluster.agent(1);
    const { namespace } = agent.host;
    expect((await throughNextHops(namespace)).length).toBeGreaterThan(50);
    await untilConsistent(agent, { backend: "vxlan" });
    await expectNoLoss(...pods, async () => {
      await namespace.run([flannelctl, "handover", `--subnet-file=${agent.subnetFile}`]);
    });
    expect(await throughNextHops(namespace)).toEqual([]);
    expect(await namespace.ip("nexthop", "show")).toBe("");
    await untilConsistent(agent, { backend: "vxlan" });
    expect((await agent.status()).repairs.total).toBe(0);
    await agent.term();
    expect(await throughNextHops(namespace)).toEqual([]);
  });

  it("does so without a running agent too", async () => {
    const agent = cluster.agent(2);
    const { namespace } = agent.host;
    await agent.kill9();
    expect((await throughNextHops(namespace)).length).toBeGreaterThan(50);
    await expectNoLoss(...pods, async () => {
      const flags = [`--subnet-file=${agent.subnetFile}`, `--state-dir=${agent.directory}/state`];
      await namespace.run([flannelctl, "handover", ...flags]);
    });
    expect(await throughNextHops(namespace)).toEqual([]);
    expect(await ownRoutes(namespace)).toHaveLength(count + 1);
  });

  it("leaves what upstream takes over and deletes", async () => {
    const own = (await leases(cluster.etcd)).find(({ publicIp }) => publicIp === "192.168.50.11");
    const peer = await UpstreamPeer.start(cluster.lan.host(1), { etcd: cluster.etcd, subnet: own?.subnet ?? "" });
    const gone = madeUp(count);
    const holds = async () => (await overlayLines(peer.host.namespace)).some((line) => line.includes(gone.subnet));
    expect(await holds()).toBe(true);
    await peer.forget(`/coreos.com/network/subnets/${gone.subnet.replace("/", "-")}`);
    expect(await holds()).toBe(false);
    await untilAllPing(pods);
  });
});
