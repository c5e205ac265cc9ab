// The interface that leads to the other hosts: how it is chosen, and what follows when its address, MTU or state
// changes under a running agent.
import { readFile, rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { Cluster } from "../../lab/cluster.ts";
import { changeAddress, linkDown, setMtu } from "../../lab/faults.ts";
import { fdb, link } from "../../lab/kernel-view.ts";
import { leaseEntryOf, leases } from "../../lab/lease-view.ts";
import { createNatHost } from "../../lab/nat.ts";
import { expectedOverlay, type OverlayForm, overlayLines } from "../../lab/overlay-view.ts";
import { attachPod } from "../../lab/pod.ts";
import { ContinuousPing, untilAllPing } from "../../lab/probe.ts";
import { until, untilLines } from "../../lab/wait.ts";

let cluster: Cluster;

async function untilConsistent(form: OverlayForm): Promise<void> {
  for (const { host } of cluster.agents) {
    const look = () => overlayLines(host.namespace);
    const expected = expectedOverlay(host, await leases(cluster.etcd), form);
    await untilLines(look, expected, { what: `${host.name} to follow` });
  }
}

/** Waits until the lease under `key` announces the address. */
async function untilAnnounced(key: string, address: string): Promise<void> {
  const look = async () => (await cluster.etcd.get(key))?.value.includes(`"PublicIP":"${address}"`);
  await until(look, { what: `${key} to announce ${address}` });
}

describe.each(["vxlan", "host-gw"] as const)("a %s host", (backend) => {
  const form: OverlayForm = { backend };

  beforeAll(async () => {
    cluster = await Cluster.start({ hosts: 3, config: { Network: "10.5.0.0/16", Backend: { Type: backend } } });
    await untilAllPing(cluster.pods);
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  it("keeps its subnet when its address changes, and the others follow", async () => {
    const agent = cluster.agent(2);
    const before = await leaseEntryOf(cluster.etcd, "192.168.50.12");
    const subnetEnv = await readFile(agent.subnetFile, "utf8");
    const undo = await changeAddress(agent.host, "192.168.50.99");
    await untilAnnounced(before.key, "192.168.50.99");
    await untilConsistent(form);
    await untilAllPing(cluster.pods);
    expect((await leases(cluster.etcd)).length).toBe(3);
    expect((await cluster.etcd.get(before.key))?.value).toBe(before.value.replace("192.168.50.12", "192.168.50.99"));
    expect(await readFile(agent.subnetFile, "utf8")).toBe(subnetEnv);
    expect((await agent.status()).externalInterface).toMatchObject({ address: "192.168.50.99" });
    await undo();
    await untilAnnounced(before.key, "192.168.50.12");
    await untilConsistent(form);
    await untilAllPing(cluster.pods);
  });

  it("keeps its subnet when its address changed while the agent was down", async () => {
    const before = await leaseEntryOf(cluster.etcd, "192.168.50.13");
    await cluster.agent(3).term();
    const undo = await changeAddress(cluster.lan.host(3), "192.168.50.98");
    cluster.startAgent(3);
    await cluster.untilReady();
    await untilAnnounced(before.key, "192.168.50.98");
    await untilConsistent(form);
    await untilAllPing(cluster.pods);
    expect((await leases(cluster.etcd)).length).toBe(3);
    await undo();
    await untilAnnounced(before.key, "192.168.50.13");
    await untilConsistent(form);
  });

  it("goes on when the interface is renamed, and when its address moves to a bridge over it", async () => {
    const { namespace } = cluster.lan.host(2);
    const before = await leaseEntryOf(cluster.etcd, "192.168.50.12");
    const route = (device: string) => `route replace default via 192.168.50.1 dev ${device}`;
    const isUsed = async (name: string) => {
      await until(async () => (await cluster.agent(2).status()).externalInterface?.name === name, { what: name });
      await untilAllPing(cluster.pods);
      await cluster.agent(2).untilReady({ peers: 2 });
    };
    await namespace.ipBatch([
      "link set dev eth0 down",
      "link set dev eth0 name ens3",
      "link set dev ens3 up",
      route("ens3"),
    ]);
    await isUsed("ens3");
    await namespace.ipBatch(["link add dev br0 type bridge", "link set dev br0 up", "link set dev ens3 master br0"]);
    await namespace.ip("addr", "del", "192.168.50.12/24", "dev", "ens3");
    await namespace.ipBatch(["addr add 192.168.50.12/24 dev br0", route("br0")]);
    await isUsed("br0");
    if (backend === "vxlan") {
      await namespace.ip("link", "set", "dev", "flannel.1", "name", "stolen");
      await until(async () => (await link(namespace, "flannel.1")) !== undefined, { what: "flannel.1 to be back" });
    }
    await namespace.ip("addr", "del", "192.168.50.12/24", "dev", "br0");
    await namespace.ipBatch(["link del dev br0", "link set dev ens3 down", "link set dev ens3 name eth0"]);
    await namespace.ipBatch(["link set dev eth0 up", "addr add 192.168.50.12/24 dev eth0", route("eth0")]);
    await isUsed("eth0");
    await untilConsistent(form);
    expect((await cluster.etcd.get(before.key))?.value).toBe(before.value);
  });

  it("stays with its address and lease beside a floating one, whose dead host's lease stays too", async () => {
    const { namespace } = cluster.lan.host(3);
    const before = await leaseEntryOf(cluster.etcd, "192.168.50.13");
    const dead = {
      key: "/coreos.com/network/subnets/10.5.254.0-24",
      value: before.value.replace("50.13", "50.100").replace(/"VtepMAC":"../, '"VtepMAC":"0e'),
    };
    await cluster.etcd.put(dead.key, dead.value);
    // As with DHCP and keepalived: the floating one is permanent and comes first.
    await namespace.ip("addr", "del", "192.168.50.13/24", "dev", "eth0");
    const dhcp = "addr add 192.168.50.13/24 dev eth0 valid_lft 3600 preferred_lft 3600";
    const route = "route replace default via 192.168.50.1 dev eth0";
    await namespace.ipBatch(["addr add 192.168.50.100/32 dev eth0", dhcp, route]);
    for (const forgets of [false, true]) {
      await cluster.agent(3).term();
      if (forgets) await rm(`${cluster.lan.host(3).runDirectory}/state`, { recursive: true });
      cluster.startAgent(3);
      const leased = async () => (await cluster.agent(3).status()).lease !== undefined;
      await until(leased, { what: "a lease" });
      const status = await cluster.agent(3).status();
      expect(status.externalInterface).toMatchObject({ address: "192.168.50.13", publicIp: "192.168.50.13" });
      expect(`/coreos.com/network/subnets/${status.lease?.key}`).toBe(before.key);
    }
    expect((await cluster.etcd.get(dead.key))?.value).toBe(dead.value);
    await cluster.etcd.delete(dead.key);
    await namespace.ip("addr", "del", "192.168.50.100/32", "dev", "eth0");
    await cluster.untilReady();
    await untilConsistent(form);
  });

  it("follows the MTU, on the device and in subnet.env", async () => {
    const agent = cluster.agent(1);
    const overheadBytes = backend === "vxlan" ? 50 : 0;
    const untilMtu = async (mtuBytes: number) => {
      const look = async () => (await readFile(agent.subnetFile, "utf8")).includes(`\nFLANNEL_MTU=${mtuBytes}\n`);
      await until(look, { what: `FLANNEL_MTU=${mtuBytes}` });
      if (backend === "vxlan") expect((await link(agent.host.namespace, "flannel.1"))?.mtuBytes).toBe(mtuBytes);
      expect((await agent.status()).mtuBytes).toBe(mtuBytes);
    };
    const undo = await setMtu(agent.host, 1400);
    await untilMtu(1400 - overheadBytes);
    await undo();
    await untilMtu(1500 - overheadBytes);
    await untilConsistent(form);
  });

  it("is not ready while the link is down, says why, and heals", async () => {
    const agent = cluster.agent(1);
    await using traffic = await ContinuousPing.start(cluster.pod(1).namespace, cluster.pod(2).ipv4 ?? "");
    const undo = await linkDown(agent.host);
    const look = async () => (await agent.status()).reasons.some(({ message }) => message === "interface eth0 is down");
    await until(look, { what: "the reason" });
    await undo();
    await untilConsistent(form);
    await agent.untilReady({ peers: 2 });
    await traffic.more(20);
    await untilAllPing(cluster.pods);
  });
});

describe("the choice", () => {
  beforeAll(async () => {
    cluster = await Cluster.start({ hosts: 2, config: { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } } });
    const { namespace } = cluster.lan.host(1);
    await namespace.ipBatch([
      "link add dev eth1 type veth peer name eth1-far",
      "link set dev eth1-far up",
      "link set dev eth1 mtu 1400 up",
      ...["172.16.30.18", "172.16.31.200"].map((address) => `addr add ${address}/24 dev eth1`),
      "addr add 10.99.0.1/32 dev lo",
    ]);
    await cluster.lan.host(2).namespace.ip("route", "add", "10.99.0.1/32", "via", "192.168.50.11");
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  const loopback = { name: "eth0", address: "10.99.0.1", publicIp: "10.99.0.1", mtuBytes: 1500 };
  const eth0 = { name: "eth0", address: "192.168.50.11", publicIp: "192.168.50.11", mtuBytes: 1500 };
  const eth1 = { name: "eth1", address: "172.16.30.18", publicIp: "172.16.30.18", mtuBytes: 1400 };
  const second = { ...eth1, address: "172.16.31.200", publicIp: "172.16.31.200" };

  it.each([
    { flags: [], chosen: eth0 },
    { flags: ["--iface=eth1"], chosen: eth1 },
    { flags: ["--iface=172.16.31.200"], chosen: second },
    { flags: ["--iface=eth7", "--iface=eth1"], chosen: eth1 },
    { flags: ["--iface-regex=172\\.16\\.31\\.\\d+"], chosen: second },
    { flags: ["--iface-regex=^eth1$"], chosen: eth1 },
    { flags: ["--iface-regex=^eth7$", "--iface-can-reach=172.16.31.254"], chosen: second },
    { flags: ["--public-ip=172.16.31.200"], chosen: second },
    { flags: ["--public-ip=10.99.0.1"], chosen: loopback },
    { flags: ["--iface=lo"], chosen: loopback },
    { flags: ["--iface=eth0", "--public-ip=10.99.0.1"], chosen: loopback },
    { flags: ["--iface=eth1", "--public-ip=203.0.113.7"], chosen: { ...eth1, publicIp: "203.0.113.7" } },
  ])("follows $flags, keeps the subnet and binds the tunnel to it", async ({ flags, chosen }) => {
    const { key } = (await cluster.agent(1).untilReady({ peers: 1 })).lease ?? {};
    await cluster.agent(1).term();
    const agent = cluster.startAgent(1, flags);
    const status = await agent.untilReady({ peers: 1 });
    expect(status.externalInterface).toEqual(chosen);
    expect(status.lease).toMatchObject({ key, publicIp: chosen.publicIp });
    expect((await cluster.etcd.get(`/coreos.com/network/subnets/${key}`))?.value).toContain(
      `{"PublicIP":"${chosen.publicIp}","PublicIPv6":null,`,
    );
    expect(await link(agent.host.namespace, "flannel.1")).toMatchObject({
      mtuBytes: chosen.mtuBytes - 50,
      settings: { link: chosen.name, local: chosen.address },
    });
    const [entry = ""] = await fdb(cluster.lan.host(2).namespace, "flannel.1");
    await until(async () => (await fdb(cluster.lan.host(2).namespace, "flannel.1")).length === 1, {
      what: "one entry",
    });
    expect(entry).toContain(`dst ${chosen.publicIp} `);
  });

  it.each([
    { flags: ["--iface=eth7"], said: "no interface is named eth7" },
    { flags: ["--iface=192.168.50.77"], said: "no interface has the address 192.168.50.77" },
    { flags: ["--iface-regex=^wlan"], said: "^wlan" },
    { flags: ["--iface-can-reach=fd00:77::1"], said: "no route to fd00:77::1" },
  ])("fails with $flags: exit 1, the reason and all interfaces", async ({ flags, said }) => {
    const { host } = cluster.agent(1);
    const directory = `${host.runDirectory}/wrong`;
    await using agent = LabAgent.start(host, { etcdEndpoints: cluster.etcd.endpoints, directory, args: flags });
    expect(await agent.exited).toEqual({ code: 1, signal: null });
    const [line = ""] = agent.events("agent.failed");
    expect(line).toContain(said);
    expect(line).toContain("eth0 (192.168.50.11");
    expect(line).toContain("eth1 (172.16.30.18, 172.16.31.200");
  });

  it("announces a public IP that is elsewhere (NAT), binds the tunnel to the interface, and says so", async () => {
    await using nat = await createNatHost(cluster.lan);
    const args = [`--public-ip=${nat.publicIp}`];
    await cluster.agent(1).term();
    cluster.startAgent(1);
    await using agent = LabAgent.start(nat.host, { etcdEndpoints: cluster.etcd.endpoints, args });
    await agent.untilReady({ peers: 2 });
    const [warning = ""] = agent.events("interface.odd");
    expect(warning).toContain(`no interface of this host has the public address ${nat.publicIp}`);
    const device = await link(nat.host.namespace, "flannel.1");
    expect(device?.settings).toMatchObject({ local: "172.20.0.14", link: "eth0" });
    await cluster.agent(2).untilReady({ peers: 2 });
    expect(await fdb(cluster.lan.host(2).namespace, "flannel.1")).toContain(
      `${device?.mac} dst ${nat.publicIp} self permanent`,
    );
    const pod = await attachPod(nat.host, await agent.untilSubnetEnv());
    await untilAllPing([pod, cluster.pod(2)]);
    await agent.term();
  });

  it("refuses a public IP that is elsewhere with host-gw: exit 2", async () => {
    await cluster.etcd.put("/gw/config", JSON.stringify({ Network: "10.6.0.0/16", Backend: { Type: "host-gw" } }));
    const { host } = cluster.agent(1);
    await using agent = LabAgent.start(host, {
      etcdEndpoints: cluster.etcd.endpoints,
      directory: `${host.runDirectory}/gw`,
      args: ["--etcd-prefix=/gw", "--public-ip=203.0.113.7"],
    });
    expect(await agent.exited).toEqual({ code: 2, signal: null });
    expect(agent.events("agent.failed")[0]).toContain("host-gw cannot work behind NAT");
  });
});
