// Many agents at the same moment, several agents on one host, and two that want the same subnet file.
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { Cluster } from "../../lab/cluster.ts";
import type { LabHost } from "../../lab/host.ts";
import { leases } from "../../lab/lease-view.ts";
import { expectedOverlay, type OverlayForm, overlayLines } from "../../lab/overlay-view.ts";
import { pingAll } from "../../lab/probe.ts";
import { untilLines } from "../../lab/wait.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
const vxlan: OverlayForm = { backend: "vxlan" };

let cluster: Cluster;
afterEach(() => cluster[Symbol.asyncDispose]());

describe("ten agents started at the same moment", () => {
  async function expectComplete(): Promise<void> {
    const all = await leases(cluster.etcd);
    expect(new Set(all.map((lease) => lease.subnet)).size).toBe(10);
    for (const agent of cluster.agents) {
      const { host } = agent;
      const what = `every pair to be programmed on ${host.name}`;
      await untilLines(() => overlayLines(host.namespace), expectedOverlay(host, all, vxlan), { what });
      expect((await agent.status()).repairs).toEqual({ total: 0, last: [] });
    }
  }

  it("all get subnets of their own and know each other", async () => {
    const config = { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } };
    cluster = await Cluster.start({ hosts: 10, config });
    await expectComplete();
    const results = await pingAll(cluster.pods);
    expect(results).toHaveLength(10 * 9);
    expect(results.filter((result) => result.roundTripMs === undefined)).toEqual([]);
  });

  it("share out a network that has exactly ten subnets", async () => {
    // 10.5.0.0/20 in /24s has 16; the range leaves ten.
    const range = { SubnetLen: 24, SubnetMin: "10.5.1.0", SubnetMax: "10.5.10.0" };
    cluster = await Cluster.start({
      hosts: 10,
      config: { Network: "10.5.0.0/20", ...range, Backend: { Type: "vxlan" } },
    });
    await expectComplete();
  });
});

describe("several agents on one host", () => {
  interface Other {
    readonly name: string;
    readonly prefix: string;
    readonly config: object;
    readonly form: OverlayForm;
  }

  const others: readonly Other[] = [
    {
      name: "second",
      prefix: "/second/network",
      config: { Network: "10.6.0.0/16", Backend: { Type: "vxlan", VNI: 2 } },
      form: { backend: "vxlan", vni: 2 },
    },
    {
      name: "third",
      prefix: "/third/network",
      config: { Network: "10.7.0.0/16", Backend: { Type: "host-gw" } },
      form: { backend: "host-gw" },
    },
  ];

  function startOther(host: LabHost, { name, prefix }: Other): LabAgent {
    return LabAgent.start(host, {
      etcdEndpoints: cluster.etcd.endpoints,
      directory: `${host.runDirectory}/${name}`,
      args: [`--etcd-prefix=${prefix}`],
    });
  }

  /** What these networks together need on the host. */
  async function expectedLines(host: LabHost, networks: readonly Other[]): Promise<readonly string[]> {
    const lines = [...expectedOverlay(host, await leases(cluster.etcd), vxlan)];
    for (const { prefix, form } of networks) {
      lines.push(...expectedOverlay(host, await leases(cluster.etcd, prefix), form));
    }
    return lines;
  }

  async function untilHolds(host: LabHost, networks: readonly Other[], what: string): Promise<void> {
    await untilLines(() => overlayLines(host.namespace), await expectedLines(host, networks), { what });
  }

  it("do not disturb each other, and each stops and cleans up only its own", async () => {
    cluster = await Cluster.start({ hosts: 2, config: { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } } });
    const [h1, h2] = [cluster.lan.host(1), cluster.lan.host(2)];
    await using resources = new AsyncDisposableStack();
    const started = new Map<string, LabAgent>();
    for (const other of others) {
      await cluster.etcd.put(`${other.prefix}/config`, JSON.stringify(other.config));
      for (const host of [h1, h2]) started.set(`${other.name} ${host.name}`, resources.use(startOther(host, other)));
    }
    await Promise.all([...started.values()].map((agent) => agent.untilReady({ peers: 1 })));
    for (const host of [h1, h2]) await untilHolds(host, others, `three networks on ${host.name}`);

    // One's device goes: that one repairs, the others have nothing to repair.
    await h1.namespace.ip("link", "del", "dev", "flannel.2");
    await untilHolds(h1, others, "the second network to be repaired");
    const second = started.get("second h1") as LabAgent;
    expect((await second.status()).repairs.total).toBeGreaterThan(0);
    for (const agent of [cluster.agent(1), started.get("third h1") as LabAgent]) {
      expect((await agent.status()).repairs.total).toBe(0);
    }

    for (const other of others) {
      const agent = started.get(`${other.name} h1`) as LabAgent;
      expect(await agent.term()).toEqual({ code: 0, signal: null });
    }
    expect(await overlayLines(h1.namespace)).toHaveLength((await expectedLines(h1, others)).length);
    const restarted = resources.use(startOther(h1, others[0] as Other));
    await restarted.untilReady({ peers: 1 });
    await restarted.term();
    await untilHolds(h1, others, "the networks of stopped agents to stay");

    for (const [index, other] of others.entries()) {
      const directory = `${h1.runDirectory}/${other.name}`;
      const flags = [`--subnet-file=${directory}/subnet.env`, `--state-dir=${directory}/state`];
      await h1.namespace.run([flannelctl, "cleanup", ...flags, `--etcd-prefix=${other.prefix}`]);
      await untilHolds(h1, others.slice(index + 1), `only ${other.name} to be gone`);
    }
    expect((await cluster.agent(1).status()).repairs.total).toBe(0);
    await untilHolds(h2, others, "the other host to keep all");
  });

  it("are refused on the same subnet file, and the first one is named", async () => {
    cluster = await Cluster.start({ hosts: 1, config: { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } } });
    const first = cluster.agent(1);
    await using second = LabAgent.start(first.host, {
      etcdEndpoints: cluster.etcd.endpoints,
      args: ["--etcd-prefix=/other"],
    });
    expect(await second.exited).toEqual({ code: 1, signal: null });
    expect(second.output).toContain(`pid ${first.pid}`);
    expect((await first.status()).state).toBe("ready");
    // The lock dies with its holder, however it dies.
    await first.kill9();
    const third = cluster.startAgent(1);
    await third.untilReady();
  });

  it("are refused on the same device, before they touch it", async () => {
    cluster = await Cluster.start({ hosts: 2, config: { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } } });
    const first = cluster.agent(1);
    const before = await overlayLines(first.host.namespace);
    await cluster.etcd.put("/other/config", JSON.stringify({ Network: "10.6.0.0/16", Backend: { Type: "vxlan" } }));
    const directory = `${first.host.runDirectory}/other`;
    await using second = LabAgent.start(first.host, {
      etcdEndpoints: cluster.etcd.endpoints,
      directory,
      args: ["--etcd-prefix=/other"],
    });
    expect(await second.exited).toEqual({ code: 1, signal: null });
    expect(second.events("agent.failed")[0]).toContain(
      `flannel.1 is in use by another agent on this host (pid ${first.pid})`,
    );
    // Without a memory of its own, cleanup means every flannel device: not while one of them is kept.
    const flags = [`--subnet-file=${directory}/subnet.env`, `--state-dir=${directory}/state`, "--etcd-prefix=/other"];
    await expect(first.host.namespace.run([flannelctl, "cleanup", ...flags])).rejects.toThrow("flannel.1 is in use by");
    expect(await overlayLines(first.host.namespace)).toEqual(before);
    expect((await first.status()).repairs.total).toBe(0);
  });
});
