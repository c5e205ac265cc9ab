// The smallest real network, by the kernel's tunnel and by ours, on whatever Node FLANNEL_NODE names: the suite runs this
// file under every Node we support.
import { realpath } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { Etcd } from "../../lab/etcd.ts";
import { createLan } from "../../lab/lan.ts";
import { attachPod } from "../../lab/pod.ts";
import { untilAllPing } from "../../lab/probe.ts";

describe.each(["vxlan", "udp"])("backend %s", (Type) => {
  const resources = new AsyncDisposableStack();
  const agents: LabAgent[] = [];

  beforeAll(async () => {
    const lan = resources.use(await createLan({ hosts: 2 }));
    const etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    await etcd.put("/coreos.com/network/config", JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type } }));
    for (const host of lan.hosts) {
      agents.push(resources.use(LabAgent.start(host, { etcdEndpoints: etcd.endpoints })));
    }
    await Promise.all(agents.map((agent) => agent.untilReady({ peers: 1 })));
  });

  afterAll(() => resources.disposeAsync());

  it("runs on the Node it was told to", async () => {
    const expected = await realpath(process.env["FLANNEL_NODE"] ?? process.execPath);
    for (const { pid } of agents) expect(await realpath(`/proc/${pid}/exe`)).toBe(expected);
  });

  it("lets containers on two hosts reach each other", async () => {
    const pods = await Promise.all(agents.map(async (agent) => attachPod(agent.host, await agent.untilSubnetEnv())));
    await untilAllPing(pods);
  });

  it("measures itself", async () => {
    for (const agent of agents) {
      expect(await agent.metric("flannel_ready")).toEqual({ "": 1 });
      expect(await agent.metric("flannel_store_connected")).toEqual({ "": 1 });
      expect(await agent.metric("flannel_peers_programmed")).toEqual({ "": 1 });
      expect(await agent.metric("flannel_failed_objects")).toEqual({ "": 0 });
      const inOneDay = Date.now() / 1_000 + 86_400;
      const { "": expiry } = await agent.metric("flannel_lease_expires_timestamp_seconds");
      expect(expiry).toBeGreaterThan(inOneDay - 3_600);
      expect(expiry).toBeLessThan(inOneDay + 60);
      expect((await agent.metric("flannel_reconcile_passes_total"))["result=done"]).toBeGreaterThan(0);
      expect((await agent.metric("flannel_reconcile_duration_seconds"))[""]).toBeGreaterThan(0);
      const packets = await agent.metric("flannel_udp_packets_total");
      if (Type === "vxlan") expect(packets).toEqual({});
      else expect(Math.min(packets["direction=sent"] ?? 0, packets["direction=received"] ?? 0)).toBeGreaterThan(0);
    }
  });

  it(
    "ends within 5 s when asked to, with exit code 0",
    async () => {
      for (const agent of agents) {
        process.kill(agent.pid, "SIGTERM");
        expect(await agent.exited).toEqual({ code: 0, signal: null });
      }
    },
    5_000 * 2,
  );
});
