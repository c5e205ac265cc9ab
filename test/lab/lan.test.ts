// The lab checks itself: hosts, containers, a hand-made vxlan in upstream's form, every fault and its undo.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allCapabilities, missingCapabilities } from "../../lab/capability.ts";
import { Etcd } from "../../lab/etcd.ts";
import { changeAddress, cut, dropUdp, linkDown, lose, partition, setMtu, type Undo, unplug } from "../../lab/faults.ts";
import { addresses, fdb, link, neighbours, routes } from "../../lab/kernel-view.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { createNatHost } from "../../lab/nat.ts";
import { attachPod, type Pod, setPodMtu } from "../../lab/pod.ts";
import { ContinuousPing, measureThroughput, ping, pingAll, untilAllPing } from "../../lab/probe.ts";
import { ServiceManager } from "../../lab/service-manager.ts";
import { UpstreamPeer } from "../../lab/upstream-peer.ts";
import { until, untilLines } from "../../lab/wait.ts";

const cleanup = new AsyncDisposableStack();
let lan: Lan;
let etcd: Etcd;
let pods: readonly Pod[];
let peers: readonly UpstreamPeer[];

beforeAll(async () => {
  lan = cleanup.use(await createLan({ hosts: 3, routedHosts: 1, ipv6: true }));
  etcd = cleanup.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  peers = await Promise.all(
    lan.hosts.map((host, index) =>
      UpstreamPeer.start(host, {
        etcd,
        subnet: `10.5.${index + 1}.0/24`,
        // The oldest form knows IPv4 only.
        ...(index === 1 ? { form: "seed" } : { ipv6Subnet: `fd00:5:0:${index + 1}::/64` }),
      }),
    ),
  );
  await Promise.all(peers.map((peer) => peer.sync()));
  pods = await Promise.all(peers.map((peer) => attachPod(peer.host, peer.subnetEnv)));
});

afterAll(async () => {
  await cleanup.disposeAsync();
});

const reaches = async (from: number, to: number) => {
  const address = lan.host(to).ipv4 ?? "";
  return (await ping(lan.host(from).namespace, address, { waitSeconds: 0.3 })) !== undefined;
};

const untilReaches = (from: number, to: number) => until(() => reaches(from, to), { what: `h${from} to reach h${to}` });

/** The fault must be felt, and its undo must heal. */
async function expectFault(undo: Undo, from: number, to: number): Promise<void> {
  expect(await reaches(from, to)).toBe(false);
  await undo();
  await untilReaches(from, to);
}

describe("network", () => {
  it("has everything this test machine needs", async () => {
    expect(await missingCapabilities(allCapabilities)).toEqual([]);
  });

  it("lets hosts see each other, routed ones one hop further", async () => {
    for (const [from, to] of [
      [1, 2],
      [2, 3],
      [3, 4],
      [4, 1],
    ] as const) {
      await untilReaches(from, to);
    }
    const far = await lan.host(1).namespace.run(["ping", "-n", "-c", "1", lan.host(4).ipv4 ?? ""]);
    expect(far).toContain("ttl=63");
  });

  it("carries container traffic over a vxlan made in upstream's form, both families", async () => {
    await untilAllPing(pods);
    const results = await pingAll(pods);
    expect(results).toHaveLength(4 * 3 + 3 * 2);
    expect(results[0]).toMatchObject({ from: "h1-pod", to: "h2-pod", address: "10.5.2.2" });
  });

  it("shows kernel state in operators' lines", async () => {
    const host = lan.host(1).namespace;
    const mac = (await link(lan.host(2).namespace, "flannel.1"))?.mac;
    expect(await routes(host)).toContain("10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink");
    expect(await neighbours(host, "flannel.1")).toContain(`10.5.2.0 lladdr ${mac} PERMANENT`);
    const others = [lan.host(2), lan.host(3), lan.host(4)];
    const macs = await Promise.all(others.map(async ({ namespace }) => (await link(namespace, "flannel.1"))?.mac));
    const entries = others.map(({ ipv4 }, index) => `${macs[index]} dst ${ipv4} self permanent`);
    await untilLines(() => fdb(host, "flannel.1"), entries, { what: "the forwarding entries" });
    const wrong = untilLines(() => fdb(host, "flannel.1"), entries.slice(1), { what: "fewer", timeoutMs: 0 });
    await expect(wrong).rejects.toThrow(`too many):\n+ ${entries[0]}`);
    expect(await addresses(host, "flannel.1")).toEqual(["10.5.1.0/32"]);
    expect(await link(host, "flannel.1")).toMatchObject({ mtuBytes: 1450, kind: "vxlan", isUp: true });
    expect(await link(host, "flannel.9")).toBeUndefined();
  });

  it("writes upstream's bytes to etcd", async () => {
    const mac = (await link(lan.host(1).namespace, "flannel.1"))?.mac;
    const mac6 = (await link(lan.host(1).namespace, "flannel-v6.1"))?.mac;
    const entry = await etcd.get("/coreos.com/network/subnets/10.5.1.0-24&fd00:5:0:1::-64");
    expect(entry?.value).toBe(
      `{"PublicIP":"192.168.50.11","PublicIPv6":"fd00:50::11","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${mac}"},"BackendV6Data":{"VNI":1,"VtepMAC":"${mac6}"}}`,
    );
    expect(entry?.leaseId).not.toBe(0n);
  });

  it("puts a host behind a NAT box that forwards the tunnel's port only", async () => {
    await using nat = await createNatHost(lan);
    const { namespace } = nat.host;
    await until(async () => (await ping(namespace, lan.storeAddress)) !== undefined, { what: "the way out" });
    const child = namespace.spawn(["socat", "-u", "UDP-RECV:8472", "STDOUT"], { stdio: ["ignore", "pipe", "ignore"] });
    let received = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      received += text;
    });
    try {
      const send = (port: number, text: string) =>
        lan.host(1).namespace.run(["socat", "-u", "STDIN", `UDP-SENDTO:${nat.publicIp}:${port}`], { input: text });
      await until(() => send(8472, "tunnel\n").then(() => received !== ""), { what: "a forwarded datagram" });
      expect(received).toMatch(/^(tunnel\n)+$/);
      expect(await ping(lan.host(1).namespace, nat.host.ipv4 ?? "", { waitSeconds: 0.3 })).toBeUndefined();
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("receives what services tell their manager", async () => {
    await using manager = await ServiceManager.start("/run/notify.sock");
    const start = performance.now();
    await boxNamespace.run(["socat", "-u", "STDIN", `UNIX-SENDTO:${manager.socketPath}`], { input: "READY=1" });
    expect(await manager.untilNotified("READY=1")).toBeGreaterThan(start);
    await expect(manager.untilNotified("STOPPING=1", 50)).rejects.toThrow("STOPPING=1");
  });

  it("measures throughput", async () => {
    const [from, to] = pods as [Pod, Pod, ...Pod[]];
    expect(await measureThroughput(from, to, 1)).toBeGreaterThan(10_000_000);
  });
});

describe("faults", () => {
  it("partitions, unplugs and cuts, and heals", async () => {
    await expectFault(await partition(lan.host(2)), 1, 2);
    await expectFault(await unplug(lan.host(2)), 1, 2);
    const undo = await cut(lan.host(1), lan.host(2));
    expect(await reaches(3, 2)).toBe(true);
    await expectFault(undo, 1, 2);
  });

  it("kills the data plane alone", async () => {
    const [from, to] = pods as [Pod, Pod, ...Pod[]];
    const undo = await dropUdp(8472);
    expect(await reaches(1, 2)).toBe(true);
    expect(await ping(from.namespace, to.ipv4 ?? "", { waitSeconds: 0.3 })).toBeUndefined();
    await undo();
    await untilAllPing([from, to]);
  });

  it("takes a host's link down, which loses its routes", async () => {
    const host = lan.host(3);
    const undo = await linkDown(host);
    expect(await reaches(1, 3)).toBe(false);
    expect((await routes(host.namespace)).filter((line) => line.includes("dev eth0"))).toEqual([]);
    await undo();
    await untilReaches(3, 4);
  });

  it("changes MTU and address", async () => {
    const undoMtu = await setMtu(lan.host(1), 1300);
    const size = { payloadBytes: 1400, waitSeconds: 0.3 };
    expect(await ping(lan.host(1).namespace, "192.168.50.12", size)).toBeUndefined();
    await undoMtu();
    expect(await ping(lan.host(1).namespace, "192.168.50.12", size)).toBeDefined();
    const undoAddress = await changeAddress(lan.host(2), "192.168.50.99");
    expect(lan.host(2).ipv4).toBe("192.168.50.99");
    await untilReaches(1, 2);
    await undoAddress();
    await untilReaches(1, 2);
    expect(await addresses(lan.host(2).namespace, "eth0")).toContain("192.168.50.12/24");
  });

  it("accounts for every packet of a continuous ping", async () => {
    const [from] = pods as [Pod, ...Pod[]];
    const target = pods[2]?.ipv4 ?? "";
    await using whole = await ContinuousPing.start(from.namespace, target);
    await whole.more(50);
    expect((await whole.stop()).lost).toEqual([]);
    await using broken = await ContinuousPing.start(from.namespace, target);
    const undo = await lose(lan.host(3), 100);
    await until(async () => !(await reaches(1, 3)), { what: "the loss to bite" });
    await undo();
    await broken.more(20);
    const report = await broken.stop();
    expect(report.lost.length).toBeGreaterThan(0);
    expect(report.sent).toBe(report.answered + report.lost.length);
  });

  it("re-attaches containers and follows MTU changes", async () => {
    const peer = peers[0] as UpstreamPeer;
    const pod = await attachPod(peer.host, { ...peer.subnetEnv, mtuBytes: 1400 });
    expect((await link(pod.namespace, "eth0"))?.mtuBytes).toBe(1400);
    await setPodMtu(pod, 1350);
    expect((await link(peer.host.namespace, "cni0"))?.mtuBytes).toBe(1350);
    await untilAllPing([pod, ...pods.slice(1)]);
  });
});

describe("etcd", () => {
  it("survives kill -9 with its data, and pauses", async () => {
    const [member] = etcd.members;
    if (member === undefined) throw new Error("no member");
    await etcd.put("/lab/key", "-value with spaces");
    await member.kill9();
    await expect(etcd.get("/lab/key")).rejects.toThrow(/etcdctl/);
    member.start();
    await etcd.untilHealthy(member);
    expect((await etcd.get("/lab/key"))?.value).toBe("-value with spaces");
    await etcd.compact();
    await etcd.delete("/lab/key");
    expect(await etcd.get("/lab/key")).toBeUndefined();
  });
});
