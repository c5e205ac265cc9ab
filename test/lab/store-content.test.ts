// What stands in the store is written by anybody: garbage and hostile leases cost nobody else anything, a flood of
// changes ends in exactly the right kernel state, and peers that change are followed.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { Etcd } from "../../lab/etcd.ts";
import { fdb, routes } from "../../lab/kernel-view.ts";
import { createLan } from "../../lab/lan.ts";
import { until } from "../../lab/wait.ts";
import { RawClient } from "../etcd/fixture.ts";
import {
  leaseDirectory,
  leaseKey,
  leaseValue,
  linesOf,
  prefix,
  putConfig,
  putPeers,
  type StorePeer,
  storePeer,
  untilPeers,
  vxlanLines,
} from "../support/store-peers.ts";

const cleanup = new AsyncDisposableStack();
let etcd: Etcd;
let client: RawClient;
let agent: LabAgent;
let wide: LabAgent;
const good = [storePeer(1), storePeer(2)];

/** A second network, with room for tens of thousands of subnets. */
const widePrefix = "/wide/network";

beforeAll(async () => {
  const lan = cleanup.use(await createLan({ hosts: 2 }));
  etcd = cleanup.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  client = cleanup.use(await RawClient.open(etcd.endpoints));
  await putConfig(etcd);
  const pool = { SubnetMin: "10.31.0.0", SubnetMax: "10.31.255.240" };
  const config = { Network: "10.16.0.0/12", SubnetLen: 28, ...pool, Backend: { Type: "vxlan" } };
  await etcd.put(`${widePrefix}/config`, JSON.stringify(config));
  agent = cleanup.use(LabAgent.start(lan.host(1), { etcdEndpoints: etcd.endpoints }));
  const args = [`--etcd-prefix=${widePrefix}`];
  wide = cleanup.use(LabAgent.start(lan.host(2), { etcdEndpoints: etcd.endpoints, args }));
  await Promise.all([agent.untilReady(), wide.untilReady()]);
  await putPeers(etcd, good);
  await untilPeers(agent.host.namespace, good);
});

afterAll(() => cleanup.disposeAsync());

describe("garbage", () => {
  const unreadable: Readonly<Record<string, string>> = {
    "not-a-subnet": leaseValue(storePeer(50)),
    "10.5.300.0-24": leaseValue(storePeer(50)),
    "10.5.151.7-24": leaseValue(storePeer(51)),
    "10.5.152.0-32": leaseValue(storePeer(52)),
    "0.0.0.0-0": leaseValue(storePeer(53)),
    "10.5.154.0-24/below": leaseValue(storePeer(54)),
    "\u0000\u00ff\u001b[31m": "binary",
    ["k".repeat(4_000)]: "{}",
    "10.5.155.0-24": "not JSON",
    "10.5.156.0-24": "",
    "10.5.157.0-24": `{"PublicIP":"256.1.1.1","BackendType":"vxlan"}`,
    "10.5.158.0-24": "[".repeat(60_000),
    // Nearly as large as etcd takes.
    "10.5.159.0-24": JSON.stringify({ PublicIP: "192.168.50.159", PublicIPv6: "x".repeat(1_000_000) }),
    "10.5.160.0-24": "\u00ff\u00fe",
  };

  it("is skipped and reported, and a peer that comes after it is programmed", async () => {
    for (const [name, value] of Object.entries(unreadable)) await client.put({ [leaseDirectory + name]: value });
    await client.put({ [`${prefix}/subnets_backup/10.5.170.0-24`]: leaseValue(storePeer(70)) });
    const peers = [...good, storePeer(3)];
    await putPeers(etcd, [storePeer(3)]);
    await untilPeers(agent.host.namespace, peers);
    const { unreadableKeys } = await agent.untilReady({ peers: 3 });
    expect(unreadableKeys).toHaveLength(Object.keys(unreadable).length);
    const reasons = new Map(unreadableKeys.map(({ key, reason }) => [key, reason]));
    expect(reasons.get("not-a-subnet")).toBe("the key is not the name of a subnet");
    expect(reasons.get("10.5.155.0-24")).toBe("value is not JSON");
    expect(reasons.get("10.5.160.0-24")).toBe("value is not UTF-8 text");
    expect(reasons.get("???[31m")).toBe("the key is not the name of a subnet");
    expect(agent.events("lease.unreadable").length).toBe(Object.keys(unreadable).length);
    expect(agent.output, "no control character reaches the terminal").not.toContain("\u001b");
  });

  it("does not stop a start either", async () => {
    await agent.term();
    agent = cleanup.use(LabAgent.start(agent.host, { etcdEndpoints: etcd.endpoints }));
    const { unreadableKeys } = await agent.untilReady({ peers: 3 });
    expect(unreadableKeys).toHaveLength(Object.keys(unreadable).length);
    await untilPeers(agent.host.namespace, [...good, storePeer(3)]);
  });

  it("that was a good lease before leaves that lease as it was", async () => {
    await etcd.put(leaseKey(storePeer(3)), "oops");
    await agent.untilEvent("lease.unreadable", { after: Object.keys(unreadable).length });
    await putPeers(etcd, [storePeer(4)]);
    await untilPeers(agent.host.namespace, [...good, storePeer(3), storePeer(4)]);
  });

  it("is forgotten when it is removed", async () => {
    for (const name of Object.keys(unreadable)) await client.delete(leaseDirectory + name);
    await etcd.delete(leaseKey(storePeer(3)));
    await etcd.delete(leaseKey(storePeer(4)));
    await untilPeers(agent.host.namespace, good);
    const isClean = async () => (await agent.status()).unreadableKeys.length === 0;
    await until(isClean, { what: "no unreadable key in the status" });
  });
});

describe("a hostile lease", () => {
  const own = async () => (await agent.status()).lease?.subnet ?? "";
  const attacks: readonly [string, () => Promise<StorePeer>, RegExp][] = [
    [
      "for a subnet around ours",
      async () => storePeer(60, { subnet: "10.5.0.0/17" }),
      /overlaps this host's own subnet/,
    ],
    [
      "for a part of ours",
      async () => storePeer(61, { subnet: (await own()).replace("/24", "/26") }),
      /overlaps this host's own subnet/,
    ],
    ["for half the internet", async () => storePeer(62, { subnet: "0.0.0.0/1" }), /not inside the network/],
    ["for the LAN", async () => storePeer(63, { subnet: "192.168.50.0/24" }), /not inside the network/],
    ["at our own address", async () => storePeer(64, { publicIp: "192.168.50.11" }), /this host's own address/],
    ["at a multicast address", async () => storePeer(65, { publicIp: "239.1.1.1" }), /not a host's address/],
    ["with a multicast MAC", async () => storePeer(66, { mac: "01:00:5e:00:00:01" }), /MAC/],
  ];

  it.each(attacks)("%s is left out and reported", async (_what, make, reason) => {
    const attack = await make();
    await putPeers(etcd, [attack]);
    const name = leaseKey(attack).slice(leaseDirectory.length);
    const isSkipped = async () => {
      const skip = (await agent.status()).peers.skipped.find(({ key }) => key === name);
      return skip === undefined ? undefined : skip.reason;
    };
    expect(await until(isSkipped, { what: "the lease to be reported" })).toMatch(reason);
    await putPeers(etcd, [storePeer(5)]);
    await untilPeers(agent.host.namespace, [...good, storePeer(5)]);
    await etcd.delete(leaseKey(attack));
    await etcd.delete(leaseKey(storePeer(5)));
    await untilPeers(agent.host.namespace, good);
    await agent.untilReady({ peers: good.length });
  });

  it("with the MAC of a peer takes that peer's packets away from nobody", async () => {
    const thief = storePeer(67, { mac: storePeer(1).mac });
    await putPeers(etcd, [thief, storePeer(6)]);
    await until(async () => (await agent.status()).peers.skipped.length > 0, { what: "one of the two to be skipped" });
    const [entry, ...others] = (await fdb(agent.host.namespace, "flannel.1")).filter((line) =>
      line.startsWith(thief.mac),
    );
    expect(entry).toBeDefined();
    expect(others, "a MAC leads to one host").toEqual([]);
    await etcd.delete(leaseKey(thief));
    await etcd.delete(leaseKey(storePeer(6)));
    await untilPeers(agent.host.namespace, good);
  });
});

describe("a peer that changes", () => {
  it("gets its new MAC and its new address, and the old entries go", async () => {
    const ns = agent.host.namespace;
    const otherMac = storePeer(1, { mac: "02:00:5e:11:11:11" });
    await putPeers(etcd, [otherMac]);
    await untilPeers(ns, [otherMac, storePeer(2)], { what: "the new MAC, and the old forwarding entry gone" });
    const otherHost = storePeer(1, { mac: "02:00:5e:11:11:11", publicIp: "192.168.50.201" });
    await putPeers(etcd, [otherHost]);
    await untilPeers(ns, [otherHost, storePeer(2)], { what: "the new address" });
    // Two hosts exchange their subnets' MACs in one go.
    const swapped = [storePeer(1, { mac: storePeer(2).mac }), storePeer(2, { mac: storePeer(1).mac })];
    await client.put(Object.fromEntries(swapped.map((peer) => [leaseKey(peer), leaseValue(peer)])));
    await untilPeers(ns, swapped, { what: "the exchanged MACs" });
    await putPeers(etcd, good);
    await untilPeers(ns, good);
  });
});

describe("a flood of 10,000 changes", () => {
  const floodPeer = (index: number, generation: number): StorePeer => {
    const bytes = [generation, index >> 8, index & 255].map((byte) => byte.toString(16).padStart(2, "0"));
    const [high, low] = [64 + (index >> 8), index & 255];
    const subnet = `10.${16 + (index >> 12)}.${(index >> 4) & 255}.${(index & 15) * 16}/28`;
    return { subnet, publicIp: `100.${high}.${low}.1`, mac: `02:00:5e:${bytes.join(":")}` };
  };
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);
  const wideKey = (peer: StorePeer) => leaseKey(peer).replace(prefix, widePrefix);

  async function inHundreds<T>(items: readonly T[], write: (part: readonly T[]) => Promise<void>): Promise<void> {
    for (let start = 0; start < items.length; start += 100) await write(items.slice(start, start + 100));
  }
  const put = (indexes: readonly number[], generation: number) =>
    inHundreds(indexes, (part) => {
      const peers = part.map((index) => floodPeer(index, generation));
      return client.put(Object.fromEntries(peers.map((peer) => [wideKey(peer), leaseValue(peer)])));
    });
  const remove = (indexes: readonly number[]) =>
    inHundreds(indexes, (part) => client.deleteAll(part.map((index) => wideKey(floodPeer(index, 0)))));

  it("ends in exactly the right kernel state", async () => {
    await put(range(0, 4_000), 0);
    await put(range(0, 2_000), 1);
    await remove(range(2_000, 4_000));
    await put(range(2_000, 3_000), 2);
    await remove(range(2_000, 3_000));
    const expected = range(0, 2_000).flatMap((index) => linesOf(floodPeer(index, 1)));
    const wanted = expected.toSorted().join("\n");
    const isRight = async () => (await vxlanLines(wide.host.namespace)).toSorted().join("\n") === wanted;
    await until(isRight, { what: "exactly the 2,000 peers that are left", timeoutMs: 60_000, intervalMs: 200 });
    const { failures } = await wide.untilReady({ peers: 2_000 });
    expect(failures).toEqual([]);
    const { namespace } = wide.host;
    const usedByRoutes = (await routes(namespace)).flatMap((line) => /nhid (\d+)/.exec(line)?.[1] ?? []);
    const present = (await namespace.ipJson("nexthop", "show")).map(({ id }) => String(id));
    expect(present.toSorted(), "no next-hop object is left over").toEqual(usedByRoutes.toSorted());
  });
});
