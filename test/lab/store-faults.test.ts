// The store goes away in every way it can, while a real agent forwards: nothing that changed meanwhile may be lost, and
// nothing that stands may be dropped.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { Etcd, type EtcdMember } from "../../lab/etcd.ts";
import { blackHole, resetConnections } from "../../lab/faults.ts";
import type { LabHost } from "../../lab/host.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { until } from "../../lab/wait.ts";
import {
  leaseDirectory,
  leaseKey,
  leaseValue,
  prefix,
  putConfig,
  putPeers,
  storePeer,
  untilPeers,
} from "../support/store-peers.ts";

const cleanup = new AsyncDisposableStack();
let lan: Lan;

beforeAll(async () => {
  lan = cleanup.use(await createLan({ hosts: 4 }));
});

afterAll(() => cleanup.disposeAsync());

interface Site extends AsyncDisposable {
  readonly host: LabHost;
  readonly etcd: Etcd;
  readonly agent: LabAgent;
  /** The store's port. */
  readonly port: number;
}

/** Host number `number` with an agent of its own etcd; ready. */
async function openSite(number: number): Promise<Site> {
  await using opened = new AsyncDisposableStack();
  const port = 2379 + 10 * number;
  const etcd = opened.use(await Etcd.start({ members: [{ address: lan.storeAddress, port }] }));
  await putConfig(etcd);
  const host = lan.host(number);
  const agent = opened.use(LabAgent.start(host, { etcdEndpoints: etcd.endpoints }));
  await agent.untilReady();
  const all = opened.move();
  return { host, etcd, agent, port, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

async function ownKey(agent: LabAgent): Promise<string> {
  return leaseDirectory + (await agent.status()).lease?.key;
}

function onlyMember({ etcd }: Site): EtcdMember {
  const [member] = etcd.members;
  if (member === undefined) throw new Error("no member");
  return member;
}

const untilConnected = (agent: LabAgent) =>
  until(async () => (await agent.status()).store.connected, { what: "the watch to be connected" });

describe("etcd", () => {
  it("killed and restarted: what changed before the agent is back is neither lost nor left behind", async () => {
    await using site = await openSite(1);
    const { etcd, agent, host } = site;
    const member = onlyMember(site);
    await putPeers(etcd, [storePeer(1), storePeer(2)]);
    await untilPeers(host.namespace, [storePeer(1), storePeer(2)]);
    const before = await etcd.get(await ownKey(agent));

    await member.kill9();
    await agent.untilEvent("store.disconnected");
    await untilPeers(host.namespace, [storePeer(1), storePeer(2)]);
    // The agent is kept away until the changes are in, so that it must catch up.
    const undo = await blackHole(host, site.port);
    member.start();
    await etcd.untilHealthy(member);
    await putPeers(etcd, [storePeer(3)]);
    await etcd.delete(leaseKey(storePeer(1)));
    await undo();

    await untilPeers(host.namespace, [storePeer(2), storePeer(3)]);
    await untilConnected(agent);
    await agent.untilReady({ peers: 2 });
    expect(await etcd.get(await ownKey(agent)), "our lease is the one we had").toEqual(before);
    expect(agent.events("store.disconnected")).toHaveLength(1);
    await putPeers(etcd, [storePeer(4)]);
    await untilPeers(host.namespace, [storePeer(2), storePeer(3), storePeer(4)]);
  });

  it("compacted while the agent was away: it compares a new snapshot, and keeps its lease and the peers", async () => {
    await using site = await openSite(1);
    const { etcd, agent, host } = site;
    const member = onlyMember(site);
    await putPeers(etcd, [storePeer(1), storePeer(2), storePeer(3)]);
    await untilPeers(host.namespace, [storePeer(1), storePeer(2), storePeer(3)]);
    const key = await ownKey(agent);
    const before = await etcd.get(key);

    await member.kill9();
    await agent.untilEvent("store.disconnected");
    const undo = await blackHole(host, site.port);
    member.start();
    await etcd.untilHealthy(member);
    const moved = storePeer(2, { publicIp: "192.168.50.222", mac: "02:00:5e:00:00:fe" });
    await etcd.delete(leaseKey(storePeer(1)));
    await putPeers(etcd, [moved, storePeer(4)]);
    await etcd.compact();
    await undo();

    await untilPeers(host.namespace, [moved, storePeer(3), storePeer(4)]);
    await agent.untilReady({ peers: 3 });
    expect(await etcd.get(key)).toEqual(before);
    expect(agent.events("lease.reacquire")).toEqual([]);
    await putPeers(etcd, [storePeer(5)]);
    await untilPeers(host.namespace, [moved, storePeer(3), storePeer(4), storePeer(5)]);
  });

  it("never tells of a deletion at exactly the compacted revision, and the route goes all the same", async () => {
    await using site = await openSite(2);
    const { etcd, agent, host } = site;
    const member = onlyMember(site);
    await putPeers(etcd, [storePeer(1), storePeer(2)]);
    await untilPeers(host.namespace, [storePeer(1), storePeer(2)]);
    await member.kill9();
    await agent.untilEvent("store.disconnected");
    const undo = await blackHole(host, site.port);
    member.start();
    await etcd.untilHealthy(member);
    await etcd.delete(leaseKey(storePeer(1)));
    await etcd.compact();
    await undo();
    await untilPeers(host.namespace, [storePeer(2)]);
    await agent.untilEvent("leases.corrected");
    await agent.untilReady({ peers: 1 });
    expect(agent.events("lease.reacquire")).toEqual([]);
  });
});

describe("a cluster of three", () => {
  it("loses one member after the other, and the agent nothing", async () => {
    const members = [0, 1, 2].map((index) => ({ address: lan.storeAddress, port: 2479 + 10 * index }));
    await using etcd = await Etcd.start({ members });
    await putConfig(etcd);
    const host = lan.host(3);
    await using agent = LabAgent.start(host, { etcdEndpoints: etcd.endpoints });
    await agent.untilReady();
    const peers = [];
    for (const [index, member] of etcd.members.entries()) {
      await member.kill9();
      const living = etcd.members.filter((other) => other !== member).map(({ endpoint }) => endpoint);
      const peer = storePeer(index + 1);
      // While the others choose a leader a write may get lost.
      const words = ["put", "--command-timeout=1s", "--", leaseKey(peer), leaseValue(peer)];
      const write = () => etcd.ctl(words, living.join(",")).then(() => true);
      await until(write, { what: "the two that are left to take a write" });
      peers.push(peer);
      await untilPeers(host.namespace, peers, { what: `the peer written while ${member.name} was away` });
      member.start();
      await etcd.untilHealthy(member);
    }
    await agent.untilReady({ peers: 3 });
    expect(agent.isRunning).toBe(true);
  });
});

describe("a connection that went silent", () => {
  it("is noticed, and what came meanwhile arrives when packets flow again", async () => {
    await using site = await openSite(2);
    const { etcd, agent, host } = site;
    await putPeers(etcd, [storePeer(1), storePeer(2)]);
    await untilPeers(host.namespace, [storePeer(1), storePeer(2)]);
    const undo = await blackHole(host, site.port);
    await etcd.delete(leaseKey(storePeer(1)));
    await putPeers(etcd, [storePeer(3)]);
    // A ping every 10 s, 5 s for its answer.
    await agent.untilEvent("store.disconnected");
    expect((await agent.status()).store.connected).toBe(false);
    await untilPeers(host.namespace, [storePeer(1), storePeer(2)]);
    await undo();
    await untilPeers(host.namespace, [storePeer(2), storePeer(3)]);
    await agent.untilReady({ peers: 2 });
  });
});

describe("an authentication token that expired", () => {
  const asRoot = "--user=root:rootword";

  it("is replaced without anybody noticing; and a role without write permission costs a host nothing", async () => {
    const port = 2579;
    const args = ["--auth-token-ttl=1", "--log-level=info"];
    await using etcd = await Etcd.start({ members: [{ address: lan.storeAddress, port }], args });
    await putConfig(etcd);
    const grants = ["role", "grant-permission", "flannel", "--prefix=true", "readwrite", `${prefix}/`];
    for (const words of [
      ["user", "add", "root:rootword"],
      ["user", "grant-role", "root", "root"],
      ["user", "add", "flannel:flannelword"],
      ["role", "add", "flannel"],
      grants,
      ["user", "grant-role", "flannel", "flannel"],
      ["auth", "enable"],
    ]) {
      await etcd.ctl(words);
    }
    const host = lan.host(4);
    const login = ["--etcd-username=flannel", "--etcd-password=flannelword"];
    await using agent = LabAgent.start(host, { etcdEndpoints: etcd.endpoints, args: login });
    await agent.untilReady();
    const put = (number: number) =>
      etcd.ctl(["put", asRoot, "--", leaseKey(storePeer(number)), leaseValue(storePeer(number))]);
    const untilExpired = async () => {
      const count = () => etcd.members[0]?.log.match(/deleted a simple token.*"user-name":"flannel"/g)?.length ?? 0;
      const before = count();
      await until(() => count() > before, { what: "etcd to forget the agent's token" });
    };

    await untilExpired();
    await put(1);
    await untilPeers(host.namespace, [storePeer(1)], { what: "a peer, with an expired token" });
    // The watch must be opened anew, which the old token does not allow.
    await resetConnections(host, port);
    await agent.untilEvent("store.disconnected");
    await put(2);
    await untilPeers(host.namespace, [storePeer(1), storePeer(2)]);
    // And so must a write be allowed again.
    await untilExpired();
    const key = await ownKey(agent);
    await etcd.ctl(["del", asRoot, "--", key]);
    await agent.untilEvent("lease.reacquire");
    await until(async () => (await etcd.ctl(["get", asRoot, "--keys-only", "--", key])).trim() === key, {
      what: "our lease to be there again",
    });
    await agent.untilReady({ peers: 2 });
    expect(agent.output).not.toContain("flannelword");

    // Allowed to read only, a restarted agent goes on with its lease, follows the peers and says what is refused.
    const permit = (verb: string, ...kind: string[]) =>
      etcd.ctl(["role", verb, asRoot, "--prefix=true", "flannel", ...kind, `${prefix}/`]);
    await agent.kill9();
    await permit("revoke-permission");
    await permit("grant-permission", "read");
    await using restarted = LabAgent.start(host, { etcdEndpoints: etcd.endpoints, args: login });
    const readsOnly = async () => {
      const { state, reasons } = await restarted.status();
      return state === "degraded" && reasons.some((one) => one.name === "lease-not-written");
    };
    await until(readsOnly, { what: "the agent to say that it is degraded: the store takes no writes" });
    await put(3);
    await untilPeers(host.namespace, [storePeer(1), storePeer(2), storePeer(3)]);
    await permit("grant-permission", "readwrite");
    await restarted.untilReady({ peers: 3 });
  });
});
