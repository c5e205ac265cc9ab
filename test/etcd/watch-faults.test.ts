// Watching a real etcd through everything that goes wrong: no event is lost, garbage harms nothing.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EtcdSubnetStoreOptions } from "../../src/store/etcd/etcd-subnet-store.ts";
import type { SubnetStore } from "../../src/store/subnet-store.ts";
import { type ContractServer, startContractServer } from "./contract-server.ts";
import { directory, Follower, foreignLease, never, openStore, prefix, putForeignLeases, RawClient } from "./fixture.ts";
import { TcpProxy } from "./tcp-proxy.ts";

let stack: AsyncDisposableStack;
let server: ContractServer;
let raw: RawClient;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  server = stack.use(await startContractServer());
  raw = stack.use(await RawClient.open(server.endpoints));
});

afterEach(async () => {
  await stack[Symbol.asyncDispose]();
});

async function follow(
  endpoints = server.endpoints,
  options: Partial<EtcdSubnetStoreOptions> = {},
): Promise<{ store: SubnetStore; follower: Follower }> {
  const store = stack.use(await openStore(endpoints, options));
  const follower = stack.use(new Follower(store));
  await follower.until("contact after the snapshot", () => follower.changes.some(({ type }) => type === "contact"));
  return { store, follower };
}

test("garbage keys and values are reported and nothing else changes", async () => {
  const [good] = [foreignLease(0)];
  await raw.put({ [good.key]: good.value, [`${directory}garbage`]: good.value, [`${directory}10.5.9.0-24`]: "{" });
  const { follower } = await follow();
  expect(follower.unreadable.sort()).toEqual(["10.5.9.0-24", "garbage"]);
  expect([...follower.leases.keys()]).toEqual([good.name]);
  await raw.put({
    [good.key]: "\xff\xfe\x00",
    [`${directory}\x00\xff\n`]: "x",
    [`${directory}a/10.5.1.0-24`]: good.value,
    [`${directory}${"9".repeat(5_000)}`]: good.value,
    [`${prefix}/subnets_backup`]: "x",
    [`${prefix}/subnets`]: "x",
  });
  await raw.put({ [foreignLease(1).key]: foreignLease(1).value });
  await follower.until("the peer after the garbage", () => follower.leases.size === 2);
  expect(follower.leases.get(good.name)?.attributes.publicIp).toBe("192.168.0.0");
  const later = follower.unreadable.slice(2);
  expect(later).toContain("???");
  expect(later).toContain("a/10.5.1.0-24");
  expect(later).toContain(good.name);
  expect(later).toHaveLength(4);
  expect(Math.max(...later.map((key) => key.length))).toBeLessThan(110);
  await raw.delete(`${directory}garbage`);
  await follower.until("the end of the garbage", () =>
    follower.changes.some(
      (change) =>
        change.type === "changes" && change.changes.some((event) => event.type === "delete" && event.key === "garbage"),
    ),
  );
  expect(follower.snapshots).toBe(1);
});

test("no event is lost when etcd is killed and comes back, again and again", async () => {
  const { follower } = await follow();
  for (let round = 0; round < 3; round++) {
    await putForeignLeases(raw, 100, round * 200);
    await server.member.kill();
    await follower.until("the outage", () => follower.disconnects === round + 1);
    server.member.start();
    await server.member.healthy();
    await putForeignLeases(raw, 100, round * 200 + 100);
    await follower.until(`${(round + 1) * 200} leases`, () => follower.leases.size === (round + 1) * 200);
  }
  expect(follower.snapshots).toBe(1);
  expect(follower.disconnects).toBe(3);
});

test("events during the outage, and a second cut right after reconnecting, are not lost", async () => {
  const proxy = stack.use(await TcpProxy.start(server.endpoints));
  const { follower } = await follow(proxy.endpoint);
  for (let round = 0; round < 10; round++) {
    proxy.cut();
    await putForeignLeases(raw, 20, round * 20);
    if (round % 2 === 1) await follower.until("contact", () => follower.changes.at(-1)?.type !== "disconnected");
  }
  await follower.until("200 leases", () => follower.leases.size === 200);
  expect(follower.snapshots).toBe(1);
});

test("compaction during an outage leads to a new snapshot that tells what is gone", async () => {
  await putForeignLeases(raw, 10);
  const proxy = stack.use(await TcpProxy.start(server.endpoints));
  const { follower } = await follow(proxy.endpoint);
  proxy.blackHole();
  proxy.cut();
  await raw.delete(foreignLease(0).key);
  await putForeignLeases(raw, 5, 10);
  const { revision } = (await raw.get(foreignLease(14).key))!;
  await server.control("compact", String(revision));
  proxy.heal();
  proxy.cut();
  await follower.until("a second snapshot", () => follower.snapshots === 2);
  expect(follower.leases.size).toBe(14);
  await raw.put({ [foreignLease(50).key]: foreignLease(50).value });
  await follower.until("life after it", () => follower.leases.size === 15);
});

test("another store that is further than the one before leads to a new snapshot", async () => {
  await putForeignLeases(raw, 5);
  const other = stack.use(await startContractServer());
  const rawOther = stack.use(await RawClient.open(other.endpoints));
  await putForeignLeases(rawOther, 50, 100);
  const proxy = stack.use(await TcpProxy.start(server.endpoints));
  const { follower } = await follow(proxy.endpoint);
  proxy.retarget(other.endpoints);
  proxy.cut();
  await follower.until("what the other store has", () => follower.leases.size === 50);
  expect(follower.snapshots).toBe(2);
  await rawOther.put({ [foreignLease(200).key]: foreignLease(200).value });
  await follower.until("life after it", () => follower.leases.size === 51);
});

test("a store that was emptied, so that its revisions start over, leads to a new snapshot", async () => {
  await putForeignLeases(raw, 500);
  const empty = stack.use(await startContractServer());
  const proxy = stack.use(await TcpProxy.start(server.endpoints));
  const { follower } = await follow(proxy.endpoint);
  proxy.retarget(empty.endpoints);
  proxy.cut();
  await follower.until("the empty snapshot", () => follower.snapshots === 2);
  expect(follower.leases.size).toBe(0);
});

test("a black-holed connection is noticed by keepalive and left", async () => {
  const proxy = stack.use(await TcpProxy.start(server.endpoints));
  // Comparing what the store holds would find it, too.
  const auditTimings = { settleMs: 3_600_000 };
  const { follower } = await follow(`${proxy.endpoint},${server.endpoints}`, { auditTimings });
  const sinceMs = performance.now();
  proxy.blackHole();
  await raw.put({ [foreignLease(1).key]: foreignLease(1).value });
  await follower.until("the event by the other endpoint", () => follower.leases.size === 1);
  expect(performance.now() - sinceMs).toBeLessThan(50_000);
  expect(follower.disconnects).toBe(1);
});

test("10,000 leases are read at one revision while others write, and no answer comes near a mebibyte", async () => {
  await putForeignLeases(raw, 10_000);
  const proxy = stack.use(await TcpProxy.start(server.endpoints));
  const store = stack.use(await openStore(proxy.endpoint));
  let [isReading, last] = [true, foreignLease(9_999)];
  const writing = (async () => {
    for (let index = 10_000; isReading && index < 11_000; index++) {
      last = foreignLease(index);
      // Each time one goes and one comes: 10,000 at every revision.
      await raw.swap(foreignLease(index - 10_000).key, last.key, last.value);
    }
  })();
  for (let round = 0; round < 3; round++) expect(await store.list(never)).toHaveLength(10_000);
  isReading = false;
  await writing;
  expect(last.name).not.toBe(foreignLease(9_999).name);
  expect(proxy.longestMessage).toBeLessThan(1_048_576);
  expect(proxy.longestMessage).toBeGreaterThan(50_000);
});

test("huge values under the prefix are read in smaller pages", async () => {
  const huge = "x".repeat(1_000_000);
  for (let index = 0; index < 40; index++) await raw.put({ [`${directory}huge-${index}`]: huge });
  await putForeignLeases(raw, 10);
  const { follower } = await follow();
  expect(follower.leases.size).toBe(10);
  expect(follower.unreadable).toHaveLength(40);
});

test("etcd away at start: one report, then the snapshot when it comes", async () => {
  await server.member.kill();
  const store = stack.use(await openStore(server.endpoints));
  const follower = stack.use(new Follower(store));
  await follower.until("the report", () => follower.disconnects === 1);
  await expect(store.networkConfig(never)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", retryable: true });
  server.member.start();
  await follower.until("the snapshot", () => follower.snapshots === 1);
  expect(follower.disconnects).toBe(1);
});

test("contact is reported without any event", async () => {
  const store = stack.use(await openStore(server.endpoints, { timings: { progressIntervalMs: 100 } }));
  const follower = stack.use(new Follower(store));
  await follower.until(
    "five signs of life",
    () => follower.changes.filter(({ type }) => type === "contact").length >= 5,
  );
});
