// Everything that may happen to a host's own lease while its agent runs, or while it is down.
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { changeAddress, resetConnections } from "../../lab/faults.ts";
import { addresses, link } from "../../lab/kernel-view.ts";
import { until, untilLines } from "../../lab/wait.ts";
import { RawClient } from "../etcd/fixture.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { Scene } from "../support/scene.ts";
import {
  leaseDirectory,
  leaseKey,
  leaseValue,
  linesOf,
  putConfig,
  putPeers,
  storePeer,
  untilPeers,
  vxlanLines,
} from "../support/store-peers.ts";

const hourMs = 3_600_000;
const ip = (host: number) => `192.168.50.${10 + host}`;
let scene: Scene;

beforeAll(async () => {
  scene = await Scene.open(3);
});

beforeEach(async () => {
  await scene.clear();
  await putConfig(scene.etcd);
});

afterAll(() => scene[Symbol.asyncDispose]());

const keyOfAgent = async (agent: LabAgent) => leaseDirectory + (await agent.status()).lease?.key;

describe("deleted by an operator", () => {
  it("is taken again, the same subnet, and nothing else changes", async () => {
    const agent = scene.start(1);
    await putPeers(scene.etcd, [storePeer(1)]);
    await agent.untilReady({ peers: 1 });
    const env = await readFile(agent.subnetFile, "utf8");
    const before = await scene.leaseOf(ip(1));
    await scene.etcd.delete(before.key);
    await agent.untilEvent("lease.reacquire");
    const after = await until(() => scene.leaseOf(ip(1)), { what: "the lease to be there again" });
    expect({ key: after.key, value: after.value }).toEqual({ key: before.key, value: before.value });
    expect(after.leaseId).not.toBe(0n);
    await agent.untilReady({ peers: 1 });
    expect(await readFile(agent.subnetFile, "utf8")).toBe(env);
    expect(await vxlanLines(agent.host.namespace)).toEqual(linesOf(storePeer(1)));
  });
});

describe("taken by another owner", () => {
  it("ends the agent with 5, both owners named, and leaves the kernel as it is", async () => {
    const agent = scene.start(1);
    await putPeers(scene.etcd, [storePeer(1)]);
    await agent.untilReady({ peers: 1 });
    const thief = storePeer(9);
    await scene.etcd.put(await keyOfAgent(agent), leaseValue(thief));
    expect(await agent.exited).toEqual({ code: 5, signal: null });
    const [line] = agent.events("agent.failed");
    expect(line).toContain(thief.publicIp);
    expect(line).toContain(ip(1));
    expect(line).toContain("LEASE_CONFLICT");
    expect(await vxlanLines(agent.host.namespace)).toEqual(linesOf(storePeer(1)));
  });

  it("after a deletion that was not seen: the new owner keeps it", async () => {
    const agent = scene.start(1);
    await agent.untilReady();
    const { key } = await scene.leaseOf(ip(1));
    // Cut off, so that both changes come at once.
    agent.signal("SIGSTOP");
    await resetConnections(agent.host, 2379);
    await scene.etcd.delete(key);
    await scene.etcd.put(key, leaseValue(storePeer(9)));
    agent.signal("SIGCONT");
    expect(await agent.exited).toEqual({ code: 5, signal: null });
    expect((await scene.etcd.get(key))?.value).toBe(leaseValue(storePeer(9)));
  });

  it("under another name: it ends, too, since its containers have addresses of the new owner", async () => {
    await using client = await RawClient.open(scene.etcd.endpoints);
    const agent = scene.start(1);
    const { lease } = await agent.untilReady();
    const thief = storePeer(9, { subnet: (lease?.subnet ?? "").replace("/24", "/25") });
    await client.swap(await keyOfAgent(agent), leaseKey(thief), leaseValue(thief));
    expect(await agent.exited).toEqual({ code: 5, signal: null });
    expect(agent.events("agent.failed")[0]).toContain(`belongs to ${thief.publicIp}`);
    const next = scene.start(1);
    const moved = await next.untilReady();
    expect(moved.lease?.subnet).not.toBe(lease?.subnet);
    const address = moved.lease?.subnet?.replace("0/24", "0/32");
    await untilLines(() => addresses(next.host.namespace, "flannel.1"), [address ?? ""], { what: "the new address" });
    const env = await next.untilSubnetEnv();
    expect(env.subnet).toBe(moved.lease?.subnet?.replace("0/24", "1/24"));
  });
});

describe("two agents with one public IP", () => {
  it("the older one tells both sides, is not ready, forwards on, and leaves the lease alone", async () => {
    const clock = await FakeClock.create();
    const older = scene.start(1, { env: clock.env });
    await putPeers(scene.etcd, [storePeer(1)]);
    await older.untilReady({ peers: 1 });
    const newer = scene.start(2, { env: clock.env, args: [`--public-ip=${ip(1)}`] });
    await newer.untilReady({ peers: 1 });
    const line = await older.untilEvent("lease.conflict");
    const macs = await Promise.all([older, newer].map((agent) => link(agent.host.namespace, "flannel.1")));
    for (const mac of macs) expect(line).toContain(mac?.mac);
    const status = await until(async () => (await older.status()).reasons.length > 0 && older.status(), {
      what: "the older agent to be not ready",
    });
    expect(status.reasons.map(({ message }) => message).join()).toContain(
      "another agent announces this host's public IP",
    );
    expect(await keyOfAgent(older)).toBe(await keyOfAgent(newer));

    // Two renewals of the newer one: each agent looks at its clock in between.
    for (const [renewals, hours] of [23.5, 47].entries()) {
      await clock.set(hours * hourMs);
      await newer.untilEvent("lease.renewed", { after: renewals });
    }
    expect(older.events("lease.renewed")).toEqual([]);
    // Not renewed for a moment, though the wall clock says two days: shown is the end on that clock.
    const { lease } = await older.status();
    expect(Date.parse(lease?.expiresAt ?? "") - (Date.now() + 47 * hourMs)).toBeGreaterThan(23 * hourMs);
    expect((await scene.leaseOf(ip(1))).value).toContain(macs[1]?.mac);
    await putPeers(scene.etcd, [storePeer(2)]);
    await untilPeers(older.host.namespace, [storePeer(1), storePeer(2)], { what: "the older one to go on forwarding" });
    expect(older.isRunning).toBe(true);
  });

  it("that start at the same moment: each that has a lease of its own is told", async () => {
    const args = [`--public-ip=${ip(3)}`];
    const agents = [scene.start(1, { args }), scene.start(2, { args })];
    const all = () => Promise.all(agents.map((agent) => agent.status()));
    const areTold = async () => {
      const now = await all().catch(() => []);
      if (now.length === 0 || now.some(({ lease }) => lease === undefined)) return false;
      const told = now.filter(({ reasons }) =>
        reasons.some(({ name }) => name === "public-ip-shared" || name === "lease-invalid"),
      );
      return told.length >= new Set(now.map(({ lease }) => lease?.key)).size;
    };
    await until(areTold, { what: "the conflict to be told" });
  });
});

describe("subnets used up", () => {
  it("says so clearly, and takes the first that becomes free", async () => {
    const three = { Network: "10.5.0.0/16", SubnetMin: "10.5.101.0", SubnetMax: "10.5.103.0" };
    await putConfig(scene.etcd, { ...three, Backend: { Type: "vxlan" } });
    await putPeers(scene.etcd, [storePeer(1), storePeer(2), storePeer(3)]);
    const agent = scene.start(1, { args: ["--healthz-port=8099"] });
    const line = await agent.untilEvent("lease.unavailable");
    expect(line).toContain("no free subnet");
    expect(line).toContain("10.5.101.0 to 10.5.103.0");
    expect(line).toContain("3 leases");
    expect((await agent.status()).reasons.map(({ message }) => message).join()).toContain("no free subnet");
    await scene.etcd.delete(leaseKey(storePeer(2)));
    const { lease } = await agent.untilReady({ peers: 2 });
    expect(lease?.subnet).toBe(storePeer(2).subnet);
    await untilPeers(agent.host.namespace, [storePeer(1), storePeer(3)]);
  });
});

describe("a reservation", () => {
  it("is taken by its host and never gets an expiry", async () => {
    const clock = await FakeClock.create();
    const agent = scene.start(1, { env: clock.env });
    await agent.untilReady();
    const { key } = await scene.leaseOf(ip(1));
    await agent.term();
    await scene.etcd.delete(key);
    const reserved = await scene.ctl(agent, "lease", "reserve", "10.5.77.0/24", `--public-ip=${ip(1)}`);
    expect(reserved).toMatchObject({ exitCode: 0 });

    const second = scene.start(1, { env: clock.env });
    const { lease } = await second.untilReady();
    expect(lease).toMatchObject({ subnet: "10.5.77.0/24", reserved: true });
    expect(lease?.expiresAt).toBeUndefined();
    await clock.set(40 * hourMs);
    await scene.etcd.put(leaseKey(storePeer(1)), leaseValue(storePeer(1)));
    await second.untilReady({ peers: 1 });
    expect((await scene.leaseOf(ip(1))).leaseId).toBe(0n);
    await second.term();
    const third = scene.start(1);
    expect((await third.untilReady()).lease).toMatchObject({ subnet: "10.5.77.0/24", reserved: true });
    expect((await scene.leaseOf(ip(1))).leaseId).toBe(0n);
  });

  it("may be made of a running agent's lease, and taken back", async () => {
    const agent = scene.start(1);
    const { lease } = await agent.untilReady();
    const subnet = lease?.subnet ?? "";
    expect(await scene.ctl(agent, "lease", "reserve", subnet, `--public-ip=${ip(1)}`)).toMatchObject({ exitCode: 0 });
    await agent.untilEvent("lease.reservation");
    const reserved = (await agent.status()).lease;
    expect(reserved).toMatchObject({ subnet, reserved: true });
    expect(reserved?.expiresAt).toBeUndefined();
    expect((await scene.leaseOf(ip(1))).leaseId).toBe(0n);

    expect(await scene.ctl(agent, "lease", "release", subnet)).toMatchObject({ exitCode: 0 });
    await agent.untilEvent("lease.reservation", { after: 1 });
    const isOrdinary = async () => {
      const now = (await agent.status()).lease;
      return now?.reserved === false && Date.parse(now.expiresAt ?? "") > Date.now() + 23 * hourMs;
    };
    await until(isOrdinary, { what: "the lease to have its 24 hours again" });
    expect((await scene.leaseOf(ip(1))).leaseId).not.toBe(0n);
    await agent.untilReady();
    expect(agent.events("lease.conflict")).toEqual([]);
  });
});

describe("a clock that jumps", () => {
  it("across the renewal: the lease is renewed and the agent stays ready", async () => {
    const clock = await FakeClock.create();
    const agent = scene.start(1, { env: clock.env });
    const before = await agent.untilReady();
    await clock.set(23.5 * hourMs);
    await agent.untilEvent("lease.renewed");
    const after = await agent.untilReady();
    const gained = Date.parse(after.lease?.expiresAt ?? "") - Date.parse(before.lease?.expiresAt ?? "");
    expect(gained / hourMs).toBeCloseTo(23.5, 1);
    expect(agent.events("agent.not-ready")).toEqual([]);
    expect(after.lease?.key).toBe(before.lease?.key);
  });

  it("across the expiry, and back by a day: it recovers and keeps the subnet", async () => {
    const clock = await FakeClock.create();
    const agent = scene.start(1, { env: clock.env });
    const before = await agent.untilReady();
    await clock.set(30 * hourMs);
    await agent.untilEvent("lease.renewed");
    await agent.untilReady();
    await clock.set(-24 * hourMs);
    await putPeers(scene.etcd, [storePeer(1)]);
    expect((await agent.untilReady({ peers: 1 })).lease?.key).toBe(before.lease?.key);
    expect(agent.events("lease.reacquire")).toEqual([]);
  });
});

describe("a lease that does not fit the configuration any more", () => {
  it("is replaced, and only the host's own", async () => {
    const old = storePeer(1, { publicIp: ip(1), subnet: "10.5.50.0/25" });
    const foreign = storePeer(2, { subnet: "10.5.60.0/25" });
    await putPeers(scene.etcd, [old, foreign]);
    const agent = scene.start(1);
    const { lease } = await agent.untilReady();
    expect(lease?.subnet).toMatch(/^10\.5\.\d+\.0\/24$/);
    expect(await scene.etcd.get(leaseKey(old))).toBeUndefined();
    expect((await scene.etcd.get(leaseKey(foreign)))?.value).toBe(leaseValue(foreign));
  });
});

describe("an address that changed while the agent was down", () => {
  it("on every host at once: each recognises its own lease and keeps its subnet", async () => {
    const numbers = [1, 2, 3];
    const first = numbers.map((number) => scene.start(number));
    const before = await Promise.all(first.map((agent) => agent.untilReady({ peers: 2 })));
    await Promise.all(first.map((agent) => agent.term()));
    await using undo = new AsyncDisposableStack();
    for (const number of numbers) undo.defer(await changeAddress(scene.host(number), `192.168.50.${200 + number}`));
    // One of them lost its device, too, as by a reboot: only the state directory knows its MAC.
    await scene.host(1).namespace.ip("link", "del", "dev", "flannel.1");

    const second = numbers.map((number) => scene.start(number));
    const after = await Promise.all(second.map((agent) => agent.untilReady({ peers: 2 })));
    expect(after.map(({ lease }) => lease?.key)).toEqual(before.map(({ lease }) => lease?.key));
    expect(after.map(({ lease }) => lease?.publicIp)).toEqual(numbers.map((number) => `192.168.50.${200 + number}`));
    expect(await scene.etcd.list(leaseDirectory)).toHaveLength(3);
    for (const agent of second) expect(agent.events("lease.acquired")[0]).toContain("outcome=remembered");
    const macs = await Promise.all(
      second.map(async ({ host }) => (await link(host.namespace, "flannel.1"))?.mac ?? ""),
    );
    const peersOf1 = [1, 2].map((index) => ({
      subnet: after[index]?.lease?.subnet ?? "",
      publicIp: `192.168.50.${201 + index}`,
      mac: macs[index] ?? "",
    }));
    await untilPeers(scene.host(1).namespace, peersOf1);
  });
});
