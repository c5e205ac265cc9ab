// Running agents fed with the worst a store can hold: they never die, lose nothing else, and still program a new peer.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { link, routes } from "../../lab/kernel-view.ts";
import { until } from "../../lab/wait.ts";
import { RawClient } from "../etcd/fixture.ts";
import { hostileConfigs, hostileLeases } from "../support/hostile-input.ts";
import { Scene } from "../support/scene.ts";
import {
  agentRange,
  leaseKey,
  leaseValue,
  linesOf,
  type StorePeer,
  storePeer,
  untilPeers,
  vxlanLines,
} from "../support/store-peers.ts";

const seed = 20_261_123;
const leases = hostileLeases(600, seed);

interface Site {
  readonly agent: LabAgent;
  readonly prefix: string;
  readonly config: string;
  readonly put: (peers: readonly StorePeer[]) => Promise<void>;
  /** Waits until the kernel holds at least these peers. */
  readonly untilHolds: (peers: readonly StorePeer[], what: string) => Promise<void>;
}

let scene: Scene;
let client: RawClient;
const sites: Site[] = [];
const good = [storePeer(1), storePeer(2), storePeer(3)];

beforeAll(async () => {
  scene = await Scene.open(2);
  client = await RawClient.open(scene.etcd.endpoints);
  sites.push(await openSite(1, "vxlan"), await openSite(2, "host-gw"));
});

afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await scene[Symbol.asyncDispose]();
});

async function openSite(number: number, type: "vxlan" | "host-gw"): Promise<Site> {
  const prefix = `/${type}/network`;
  const config = JSON.stringify({ Network: "10.5.0.0/16", ...agentRange, Backend: { Type: type } });
  await client.put({ [`${prefix}/config`]: config });
  const agent = scene.start(number, { args: [`--etcd-prefix=${prefix}`] });
  await agent.untilReady();
  const { namespace } = agent.host;
  const put = (peers: readonly StorePeer[]) =>
    client.put(
      Object.fromEntries(
        peers.map((peer) => [
          leaseKey(peer).replace(/^.*(?=\/subnets)/, prefix),
          leaseValue(peer).replace(`"vxlan"`, `"${type}"`),
        ]),
      ),
    );
  const seen = () => (type === "vxlan" ? vxlanLines(namespace) : routes(namespace));
  const wanted = (peer: StorePeer) =>
    type === "vxlan" ? linesOf(peer) : [`${peer.subnet} via ${peer.publicIp} dev eth0 proto 241`];
  const untilHolds = async (peers: readonly StorePeer[], what: string) => {
    const lines = peers.flatMap(wanted);
    await until(async () => new Set(lines).isSubsetOf(new Set(await seen())), { what, intervalMs: 50 });
  };
  await put(good);
  await untilHolds(good, "the good peers");
  return { agent, prefix, config, put, untilHolds };
}

const everySite = (what: (site: Site) => Promise<void>) => Promise.all(sites.map(what));

function expectUnharmed({ agent }: Site): void {
  expect(agent.isRunning, agent.output.slice(-3_000)).toBe(true);
  for (const event of ["plan.failed", "agent.failed", "lease.reacquire", "lease.conflict"]) {
    expect(agent.events(event)).toEqual([]);
  }
  expect(agent.output).not.toContain("    at ");
}

describe(`hostile leases (seed ${seed})`, () => {
  it("cost no good peer anything, and a new one is programmed", async () => {
    await everySite(async (site) => {
      const { lease } = await site.agent.status();
      const spared = new Set([...good.map((peer) => leaseKey(peer).split("/").at(-1)), lease?.key]);
      for (const { name, value } of leases) {
        if (!spared.has(name)) await client.put({ [`${site.prefix}/subnets/${name}`]: value });
      }
      await site.put([storePeer(10)]);
      await site.untilHolds([...good, storePeer(10)], "the good peers and the new one, amid garbage");
      const status = await site.agent.status();
      expect(status.unreadableKeys.length).toBeGreaterThan(200);
      // A well-formed lease for a host that host-gw cannot reach is refused by the kernel, and said.
      const harmed = status.failures.filter(({ object }) => good.some(({ subnet }) => object.includes(subnet)));
      expect(harmed).toEqual([]);
      expectUnharmed(site);
    });
  });

  it("do not stop a start", async () => {
    for (const [index, site] of sites.entries()) {
      expect(await site.agent.term()).toEqual({ code: 0, signal: null });
      const agent = scene.start(index + 1, { args: [`--etcd-prefix=${site.prefix}`] });
      sites[index] = { ...site, agent };
      await agent.untilEvent("store.connected");
      await site.untilHolds([...good, storePeer(10)], "the good peers after a start amid garbage");
    }
  });
});

describe(`hostile configurations (seed ${seed})`, () => {
  it("never end a running agent, and the good one is taken up again", async () => {
    await everySite(async (site) => {
      for (const text of hostileConfigs(site.config, 200, seed)) await client.put({ [`${site.prefix}/config`]: text });
      await client.put({ [`${site.prefix}/config`]: `{"Network":"last"}` });
      await until(() => site.agent.events("config.rejected").at(-1)?.includes("last"), { what: "the last bad one" });
      await site.put([storePeer(11)]);
      await client.put({ [`${site.prefix}/config`]: site.config });
      await site.untilHolds([...good, storePeer(10), storePeer(11)], "the peers, with the good configuration again");
      expectUnharmed(site);
    });
  });

  it("leave nothing behind when all garbage is removed", async () => {
    const present = [...good, storePeer(10), storePeer(11)];
    await everySite(async ({ agent, prefix }) => {
      const keep = new Set([
        ...present.map((peer) => leaseKey(peer).split("/").at(-1)),
        (await agent.status()).lease?.key,
      ]);
      const names = [...new Set(leases.map(({ name }) => name))].filter((name) => !keep.has(name));
      for (let start = 0; start < names.length; start += 100) {
        await client.deleteAll(names.slice(start, start + 100).map((name) => `${prefix}/subnets/${name}`));
      }
      const status = await until(
        async () => {
          const now = await agent.status();
          return now.unreadableKeys.length + now.peers.skipped.length === 0 && now.peers.known === 5 && now;
        },
        { what: "no garbage to be known" },
      );
      await agent.untilReady({ peers: present.length });
      expect(status.mtuBytes).toBe(prefix.startsWith("/vxlan") ? 1450 : 1500);
    });
    const [vxlan, hostGw] = sites as [Site, Site];
    await untilPeers(vxlan.agent.host.namespace, present, { what: "exactly the peers" });
    expect((await link(vxlan.agent.host.namespace, "flannel.1"))?.settings["learning"]).toBe(false);
    const isExact = async () => {
      const lines = await routes(hostGw.agent.host.namespace);
      return lines.filter((line) => line.includes("proto 241")).length === present.length;
    };
    await until(isExact, { what: "exactly the routes" });
  });
});
