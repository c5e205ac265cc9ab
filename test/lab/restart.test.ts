// The agent ends and comes back, in every way: containers notice nothing, the kernel's objects are not touched, and
// what changed meanwhile is caught up on.
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { KernelMonitor } from "../../lab/kernel-monitor.ts";
import { link } from "../../lab/kernel-view.ts";
import { leaseEntryOf, leases } from "../../lab/lease-view.ts";
import { expectedOverlay, type OverlayForm, overlayLines } from "../../lab/overlay-view.ts";
import { ContinuousPing, untilAllPing } from "../../lab/probe.ts";
import { until, untilLines } from "../../lab/wait.ts";

let cluster: Cluster;

async function untilConsistent(form: OverlayForm): Promise<void> {
  for (const { host } of cluster.agents) {
    if (!cluster.agents.some((agent) => agent.host === host && agent.isRunning)) continue;
    const expected = expectedOverlay(host, await leases(cluster.etcd), form);
    await untilLines(() => overlayLines(host.namespace), expected, { what: `${host.name} to be as the leases say` });
  }
}

/** Both directions at 10 ms; no packet may be lost while `act` runs and for `afterMs` afterwards. */
async function expectNoLoss(from: number, to: number, act: () => Promise<void>, afterMs = 500): Promise<void> {
  const [here, there] = [cluster.pod(from), cluster.pod(to)];
  await using out = await ContinuousPing.start(here.namespace, there.ipv4 ?? "");
  await using back = await ContinuousPing.start(there.namespace, here.ipv4 ?? "");
  await act();
  await Promise.all([out.more(afterMs / 10), back.more(afterMs / 10)]);
  for (const traffic of [out, back]) {
    const report = await traffic.stop();
    expect(report.lost).toEqual([]);
    expect(report.sent).toBeGreaterThan(afterMs / 10);
  }
}

/** Events on objects of flannel; containers' own neighbours come and go. */
function overlayEvents(lines: readonly string[]): readonly string[] {
  return lines.filter((line) => / dev flannel|flannel\.|10\.5\.|fd00:5:|proto 241/.test(line) && !/ cni0 /.test(line));
}

describe.each(["vxlan", "host-gw"] as const)("%s", (backend) => {
  const form: OverlayForm = { backend };

  beforeAll(async () => {
    const network = { Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fd00:5::/48" };
    cluster = await Cluster.start({ hosts: 3, ipv6: true, config: { ...network, Backend: { Type: backend } } });
    await untilAllPing(cluster.pods);
    await untilConsistent(form);
    for (const { namespace } of cluster.lan.hosts) {
      const look = async () => (await namespace.ip("-6", "addr", "show", "tentative")) === "";
      await until(look, { what: "the kernel to be done with new IPv6 addresses" });
    }
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  it.each(["SIGKILL", "SIGTERM", "SIGINT"] as const)(
    "%s and restart lose no packet and touch nothing",
    async (signal) => {
      const before = cluster.agent(1);
      const lease = (await before.status()).lease?.key;
      const { namespace } = before.host;
      const index = (await link(namespace, "flannel.1"))?.index;
      await using monitor = await KernelMonitor.start(namespace);
      await expectNoLoss(
        1,
        2,
        async () => {
          before.signal(signal);
          await before.exited;
          await cluster.startAgent(1).untilReady({ peers: 2 });
        },
        2_000,
      );
      const status = await cluster.agent(1).untilReady({ peers: 2 });
      expect(status.repairs).toEqual({ total: 0, last: [] });
      expect(status.lease?.key).toBe(lease);
      expect((await link(namespace, "flannel.1"))?.index).toBe(index);
      expect(overlayEvents(await monitor.lines())).toEqual([]);
      for (const number of [2, 3]) expect((await cluster.agent(number).status()).repairs.total).toBe(0);
      await untilConsistent(form);
    },
  );

  it("all agents of the cluster killed and restarted at once lose no packet", async () => {
    await expectNoLoss(1, 2, async () => {
      await Promise.all(cluster.agents.map((agent) => agent.kill9()));
      for (const number of [1, 2, 3]) cluster.startAgent(number);
      await cluster.untilReady();
    });
    await untilConsistent(form);
  });

  it("catches up on a peer that went, one that moved and one that came while it was down", async () => {
    await Promise.all([cluster.agent(1).term(), cluster.agent(3).term()]);
    const gone = await leaseEntryOf(cluster.etcd, cluster.lan.host(3).ipv4 ?? "");
    await cluster.etcd.delete(gone.key);
    const data = { BackendType: backend, ...(backend === "vxlan" && vtepData("02:00:5e:00:00:01")) };
    const came = "/coreos.com/network/subnets/10.5.201.0-24&fd00:5:0:201::-64";
    const addresses = { PublicIP: "192.168.50.201", PublicIPv6: "fd00:50::201" };
    await cluster.etcd.put(came, JSON.stringify({ ...addresses, ...data }));
    await expectNoLoss(1, 2, async () => {
      cluster.startAgent(1);
      await cluster.agent(1).untilReady({ peers: 2 });
      await untilConsistent(form);
    });
    expect((await overlayLines(cluster.lan.host(1).namespace)).join("\n")).toContain("10.5.201.0/24");
    await cluster.agent(1).term();
    const moved = { PublicIP: "192.168.50.202", PublicIPv6: "fd00:50::202" };
    await cluster.etcd.put(came, JSON.stringify({ ...moved, ...data }));
    await expectNoLoss(1, 2, async () => {
      cluster.startAgent(1);
      await untilConsistent(form);
    });
    await cluster.etcd.delete(came);
    await untilConsistent(form);
    cluster.startAgent(3);
    await cluster.untilReady();
    await untilConsistent(form);
  });

  it("takes the subnet of subnet.env again when lease and state are gone", async () => {
    const agent = cluster.agent(2);
    const { key } = await leaseEntryOf(cluster.etcd, agent.host.ipv4 ?? "");
    await agent.term();
    await cluster.etcd.delete(key);
    await rm(`${agent.directory}/state`, { recursive: true });
    cluster.startAgent(2);
    await cluster.untilReady();
    await untilConsistent(form);
    await untilAllPing(cluster.pods);
    expect((await leaseEntryOf(cluster.etcd, agent.host.ipv4 ?? "")).key).toBe(key);
  });
});

function vtepData(mac: string): object {
  const data = { VNI: 1, VtepMAC: mac };
  return { BackendData: data, BackendV6Data: data };
}
