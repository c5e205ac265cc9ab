// A lease takes nothing that is not its own: the store, a network of the host, another lease, a host's address.
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { Etcd } from "../../lab/etcd.ts";
import { routes } from "../../lab/kernel-view.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { attachPod } from "../../lab/pod.ts";
import { until, untilLines } from "../../lab/wait.ts";
import { leaseDirectory, leaseKey, leaseValue, putConfig, putPeers, type StorePeer } from "../support/store-peers.ts";

/** Inside the network, behind the default route of the hosts. */
const storeAddress = "172.20.5.1";
const config = {
  ...{ Network: "172.16.0.0/12", SubnetMin: "172.16.1.0", SubnetMax: "172.16.99.0" },
  Backend: { Type: "vxlan" },
};
const cleanup = new AsyncDisposableStack();
let lan: Lan;
let etcd: Etcd;
let agent: LabAgent;

function peer(number: number, subnet: string): StorePeer {
  return { subnet, publicIp: `192.168.50.${100 + number}`, mac: `02:00:5e:00:00:0${number}` };
}
const good = peer(1, "172.18.1.0/24");

function start(host = 1, args: readonly string[] = []): LabAgent {
  return cleanup.use(LabAgent.start(lan.host(host), { etcdEndpoints: etcd.endpoints, args }));
}

beforeAll(async () => {
  lan = cleanup.use(await createLan({ hosts: 2 }));
  await boxNamespace.ip("addr", "add", `${storeAddress}/32`, "dev", "lo");
  cleanup.defer(async () => void (await boxNamespace.ip("addr", "del", `${storeAddress}/32`, "dev", "lo")));
  etcd = cleanup.use(await Etcd.start({ members: [{ address: storeAddress }] }));
  await putConfig(etcd, config);
  await putPeers(etcd, [good]);
  agent = start();
  await agent.untilReady({ peers: 1 });
});

afterAll(() => cleanup.disposeAsync());

const overlayRoutes = async () =>
  (await routes(agent.host.namespace, "dev", "flannel.1")).map((line) => line.split(" ")[0] ?? "");

function untilRoutes(...subnets: readonly string[]): Promise<unknown> {
  return untilLines(overlayRoutes, subnets, { what: `routes to ${subnets.join(", ")} alone` });
}

function untilSkipped(key: string): Promise<string> {
  const find = async () => (await agent.status()).peers.skipped.find((skip) => skip.key === key)?.reason;
  return until(find, { what: `lease ${key} to be skipped` });
}

const reasonNames = async () => (await agent.status()).reasons.map(({ name }) => name);

const remove = (...peers: readonly StorePeer[]) => Promise.all(peers.map((each) => etcd.delete(leaseKey(each))));

describe("the store", () => {
  const thief = peer(2, "172.20.5.0/24");

  it("is not routed into the tunnel: the lease is told, and the agent hears what comes after it", async () => {
    await putPeers(etcd, [thief]);
    expect(await untilSkipped("172.20.5.0-24")).toBe("subnet 172.20.5.0/24 overlaps the store's address 172.20.5.1");
    const later = peer(3, "172.18.3.0/24");
    await putPeers(etcd, [later]);
    await untilRoutes(good.subnet, later.subnet);
    const status = await agent.status();
    expect(status.reasons).toMatchObject([{ name: "peer-skipped", state: "degraded" }]);
    expect(status.findings).toContainEqual(
      expect.objectContaining({ name: "lease-overlap", evidence: expect.stringContaining("172.20.5.0-24") }),
    );
    expect(agent.events("lease.not-served")).toHaveLength(1);
    await remove(later);
  });

  it("is reached again by an agent whose host was cut off before it started", async () => {
    await agent.term();
    await agent.host.namespace.ip(..."route add 172.20.5.0/24 via 172.20.5.0 dev flannel.1 onlink".split(" "));
    agent = start();
    await agent.untilReady({ peers: 1 });
    await untilRoutes(good.subnet);
    await remove(thief);
    await until(async () => (await reasonNames()).length === 0, { what: "nothing to be said any more" });
  });

  it("that a host without any memory cannot reach is told with the route in its way", async () => {
    await agent.term();
    await rm(join(agent.directory, "state"), { recursive: true });
    await agent.host.namespace.ip(..."route add 172.20.5.0/24 via 172.20.5.0 dev flannel.1 onlink".split(" "));
    agent = start();
    const line = await agent.untilEvent("store.behind-tunnel");
    expect(line).toContain("ip route del 172.20.5.0/24 dev flannel.1");
    const told = async () => (await agent.status()).reasons.some(({ message }) => message.includes("ip route del"));
    await until(told, { what: "the reason in the state" });
    await agent.host.namespace.ip("route", "del", "172.20.5.0/24", "dev", "flannel.1");
    await agent.term();
    agent = start();
    await agent.untilReady({ peers: 1 });
  });

  it("is left out where a subnet is leased, and heard with the udp backend, whose route is the network's", async () => {
    const prefix = "/narrow/network";
    const pool = { SubnetMin: "172.20.4.0", SubnetMax: "172.20.6.0" };
    await etcd.put(`${prefix}/config`, JSON.stringify({ ...config, ...pool, Backend: { Type: "udp" } }));
    const putUdpPeer = (subnet: string, publicIp: string) =>
      etcd.put(`${prefix}/subnets/${subnet.replace("/", "-")}`, JSON.stringify({ PublicIP: publicIp }));
    await putUdpPeer("172.20.4.0/24", "192.168.50.104");
    await using second = LabAgent.start(lan.host(2), {
      etcdEndpoints: etcd.endpoints,
      args: [`--etcd-prefix=${prefix}`],
    });
    expect((await second.untilReady({ peers: 1 })).lease?.subnet).toBe("172.20.6.0/24");
    await putUdpPeer("172.21.1.0/24", "192.168.50.105");
    await second.untilReady({ peers: 2 });
    const device = async () =>
      (await routes(second.host.namespace, "dev", "flannel0")).map((line) => line.split(" ")[0]);
    expect((await device()).toSorted()).toEqual(["172.20.4.0/24", "172.21.1.0/24"]);
  });
});

describe("a network that an interface of the host is connected to", () => {
  const narrow = peer(5, "172.17.3.0/24");

  it("is given back by the peer when it comes, and served again when it is gone", async () => {
    const { namespace } = agent.host;
    await putPeers(etcd, [narrow]);
    await untilRoutes(good.subnet, narrow.subnet);
    await namespace.ipBatch([
      "link add dev docker0 up type bridge",
      "addr add 172.17.0.1/16 dev docker0",
      "addr add 172.18.9.1/24 dev docker0",
    ]);
    expect(await untilSkipped("172.17.3.0-24")).toContain("docker0 is connected to by its address 172.17.0.1/16");
    await untilRoutes(good.subnet);
    // A lease over exactly that network: the kernel's route is the same object.
    await putPeers(etcd, [peer(6, "172.18.9.0/24")]);
    await untilSkipped("172.18.9.0-24");
    expect(await namespace.ip("route", "show", "172.18.9.0/24")).toContain("dev docker0 proto kernel");
    await namespace.ip("link", "del", "dev", "docker0");
    await untilRoutes(good.subnet, narrow.subnet, "172.18.9.0/24");
    await remove(narrow, peer(6, "172.18.9.0/24"));
    await untilRoutes(good.subnet);
  });
});

describe("another lease", () => {
  it("over ours under another name is told, and other hosts follow the older one", async () => {
    const { lease } = await agent.status();
    const subnet = lease?.subnet ?? "";
    await using other = LabAgent.start(lan.host(2), { etcdEndpoints: etcd.endpoints });
    await other.untilReady({ peers: 2 });
    const key = `${lease?.key}&fd00:1::-64`;
    await etcd.put(leaseDirectory + key, leaseValue(peer(7, subnet)));
    await until(async () => (await reasonNames()).includes("subnet-claimed"), { what: "the victim to be told" });
    const status = await agent.status();
    expect(status.state).toBe("notReady");
    expect(status.findings).toContainEqual(expect.objectContaining({ name: "lease-overlap", severity: "error" }));
    const skipped = async () => (await other.status()).peers.skipped.find((skip) => skip.key === key)?.reason;
    expect(await until(skipped, { what: "the other host to leave it out" })).toContain(`older lease ${lease?.key}`);
    await etcd.delete(leaseDirectory + key);
    await until(async () => !(await reasonNames()).includes("subnet-claimed"), { what: "the claim to be gone" });
  });

  it("with our public IP is told whenever it is there, in both families alike, but for a reservation", async () => {
    const { publicIp } = (await agent.status()).lease ?? {};
    const twin = { ...peer(8, "172.18.8.0/24"), publicIp: publicIp ?? "" };
    await putPeers(etcd, [twin]);
    await until(async () => (await reasonNames()).includes("public-ip-shared"), { what: "the twin to be told" });
    const { findings, reasons } = await agent.status();
    expect(reasons).toContainEqual(expect.objectContaining({ name: "public-ip-shared", state: "degraded" }));
    expect(findings).toContainEqual(expect.objectContaining({ name: "lease-duplicate-ip", severity: "error" }));
    await etcd.put(leaseKey(twin), JSON.stringify({ PublicIP: publicIp, PublicIPv6: null }));
    await until(async () => !(await reasonNames()).includes("public-ip-shared"), { what: "a reservation to be none" });
    await remove(twin);
  });
});

describe("our subnet, taken while the agent was paused", () => {
  it("ends the agent, and the next one leases another, names the bridge and never takes its network", async () => {
    const { lease } = await agent.untilReady();
    const subnet = lease?.subnet ?? "";
    await attachPod(agent.host, await agent.untilSubnetEnv());
    const { namespace } = agent.host;
    const bridgeRoutes = async () => (await namespace.ip("route", "show", "dev", "cni0")).trim();
    const before = await bridgeRoutes();
    agent.signal("SIGSTOP");
    await etcd.delete(leaseDirectory + lease?.key);
    await etcd.put(leaseDirectory + lease?.key, leaseValue(peer(9, subnet)));
    agent.signal("SIGCONT");
    expect(await agent.exited).toEqual({ code: 5, signal: null });

    agent = start();
    const status = await until(
      async () => {
        const now = await agent.status();
        return now.lease !== undefined && now.peers.skipped.length > 0 ? now : undefined;
      },
      { what: "another lease" },
    );
    expect(status.lease?.subnet).not.toBe(subnet);
    await until(async () => !(await readFile(agent.subnetFile, "utf8")).includes(subnet.replace(".0/24", ".1/24")), {
      what: "the new subnet file",
    });
    expect(await untilSkipped(lease?.key ?? "")).toContain(`cni0, which still has the address`);
    expect((await agent.status()).findings).toContainEqual(
      expect.objectContaining({
        name: "bridge-address-stale",
        evidence: expect.stringMatching(/the bridge cni0 with 1 attached interface has the address/),
      }),
    );
    expect(await bridgeRoutes()).toBe(before);
    // It is remembered, too.
    await agent.term();
    agent = start();
    expect(await untilSkipped(lease?.key ?? "")).toContain("of an earlier subnet of this host");
    await namespace.ip("link", "del", "dev", "cni0");
    await until(async () => (await overlayRoutes()).includes(subnet), { what: "the new owner to be served" });
    await agent.untilReady();
  });
});
