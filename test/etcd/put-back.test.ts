// A store that was put back from an older copy while the followers were cut off, and whose revision has passed theirs by
// the time they are back: same cluster id, same address, and nothing in the watch that tells. And what a watch leaves out.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EtcdSubnetStore } from "../../src/store/etcd/etcd-subnet-store.ts";
import type { AuditTimings } from "../../src/store/etcd/lease-audit.ts";
import type { NetworkConfigDocument } from "../../src/store/subnet-store.ts";
import { type ContractServer, startContractServer } from "./contract-server.ts";
import { Follower, foreignLease, openStore, prefix, putForeignLeases, RawClient } from "./fixture.ts";
import { TcpProxy } from "./tcp-proxy.ts";

let stack: AsyncDisposableStack;
let server: ContractServer;
let proxy: TcpProxy;
let raw: RawClient;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  server = stack.use(await startContractServer());
  proxy = stack.use(await TcpProxy.start(server.endpoints));
  raw = stack.use(await RawClient.open(server.endpoints));
});

afterEach(async () => {
  await stack[Symbol.asyncDispose]();
});

const other = JSON.stringify({ Network: "10.6.0.0/16" });
const quick: Partial<AuditTimings> = { spreadMsPerLease: 0, settleMs: 700 };
/** Long enough that only what is asked at each new watch counts. */
const without: Partial<AuditTimings> = { spreadMsPerLease: 3_600_000 };

async function follow(auditTimings: Partial<AuditTimings>): Promise<{ store: EtcdSubnetStore; follower: Follower }> {
  const store = stack.use(await openStore(proxy.endpoint, { auditTimings }));
  const follower = stack.use(new Follower(store));
  await follower.until("contact after the snapshot", () => follower.changes.some(({ type }) => type === "contact"));
  return { store, follower };
}

/** Cuts the followers off, and lets them back when `change` is done. */
async function whileCutOff(change: () => Promise<void>): Promise<void> {
  proxy.blackHole();
  proxy.cut();
  await change();
  proxy.heal();
  proxy.cut();
}

const last = (follower: Follower) => follower.changes.findLast(({ type }) => type === "snapshot");

/** Writes nobody follows, so that the revision passes what the followers saw. */
async function passTheirRevision(): Promise<void> {
  for (let count = 0; count < 20; count++) await raw.put({ [`/elsewhere/${count}`]: "x" });
}

test("a copy that lacks the last write we saw is another store, though its revision has passed ours", async () => {
  await putForeignLeases(raw, 3);
  const putBack = await server.copyData();
  await putForeignLeases(raw, 1, 3);
  const { follower } = await follow(without);
  expect(follower.leases.size).toBe(4);
  await whileCutOff(async () => {
    await putBack();
    await passTheirRevision();
  });
  await follower.until("the leases of the copy", () => follower.leases.size === 3);
  expect(last(follower)).toMatchObject({ isOtherStore: true });
  await putForeignLeases(raw, 1, 9);
  await follower.until("life after it", () => follower.leases.size === 4);
});

test("a copy behind the revision we saw is another store, though its watch stays silent: nobody writes", async () => {
  await putForeignLeases(raw, 3);
  const putBack = await server.copyData();
  await putForeignLeases(raw, 1, 3);
  await passTheirRevision();
  await raw.delete(foreignLease(0).key);
  const { follower } = await follow(without);
  expect([...follower.leases.keys()].sort()).toEqual([1, 2, 3].map((number) => foreignLease(number).name).sort());
  await whileCutOff(putBack);
  await follower.until("the lease that the copy still has", () => follower.leases.has(foreignLease(0).name));
  expect([...follower.leases.keys()].sort()).toEqual([0, 1, 2].map((number) => foreignLease(number).name).sort());
  expect(last(follower)).toMatchObject({ isOtherStore: true });
  await putForeignLeases(raw, 1, 9);
  await follower.until("life after it, below the revision of before", () => follower.leases.size === 4);
});

test("the same number of writes with other contents is another store", async () => {
  const putBack = await server.copyData();
  const [ours, theirs] = [foreignLease(1), foreignLease(2)];
  await raw.put({ [ours.key]: ours.value });
  const { follower } = await follow(without);
  await whileCutOff(async () => {
    await putBack();
    await raw.put({ [ours.key]: theirs.value });
    await passTheirRevision();
  });
  await follower.until(
    "the other content",
    () => follower.leases.get(ours.name)?.attributes.publicIp === "192.168.0.2",
  );
  expect(last(follower)).toMatchObject({ isOtherStore: true });
});

test("what a copy holds that was written before the revision we saw is found by comparing", async () => {
  await putForeignLeases(raw, 2);
  const putBack = await server.copyData();
  const { follower } = await follow(quick);
  await whileCutOff(async () => {
    // They have seen the 20 writes as progress, if at all; the copy has a lease in their place.
    await putBack();
    await putForeignLeases(raw, 1, 7);
    await passTheirRevision();
  });
  await follower.until("the lease of the copy", () => follower.leases.size === 3);
});

test("a copy with other reservations below our revision, but with our last write, is found by comparing", async () => {
  const putBack = await server.copyData();
  const [first, second, wrong] = [foreignLease(1), foreignLease(2), foreignLease(9)];
  await raw.put({ [first.key]: first.value });
  await raw.put({ [second.key]: second.value });
  const { follower } = await follow(quick);
  await whileCutOff(async () => {
    await putBack();
    await raw.put({ [first.key]: wrong.value });
    await raw.put({ [second.key]: second.value });
    await passTheirRevision();
  });
  await follower.until(
    "the other content",
    () => follower.leases.get(first.name)?.attributes.publicIp === "192.168.0.9",
  );
  expect(last(follower)).toMatchObject({ isOtherStore: true });
});

test("a deletion at exactly the compacted revision, which etcd does not tell, is found by comparing", async () => {
  await putForeignLeases(raw, 3);
  const { follower } = await follow(quick);
  await whileCutOff(async () => {
    await raw.delete(foreignLease(1).key);
    await raw.put({ "/elsewhere/a": "x" });
    const { revision } = (await raw.get("/elsewhere/a"))!;
    await server.control("compact", String(revision - 1n));
  });
  await follower.until("the lease to be gone", () => follower.leases.size === 2);
  expect(last(follower)).not.toHaveProperty("isOtherStore");
});

test("an ordinary reconnect finds nothing", async () => {
  await putForeignLeases(raw, 30);
  const { follower } = await follow(quick);
  for (let round = 1; round <= 3; round++) {
    await whileCutOff(() => putForeignLeases(raw, 10, 30 + round * 10));
    await follower.until("the new leases", () => follower.leases.size === 30 + round * 10);
  }
  await raw.delete(foreignLease(0).key);
  await follower.until("the deletion", () => follower.leases.size === 59);
  expect(follower.snapshots).toBe(1);
});

test("the configuration of a copy that was put back is told, too", async () => {
  await raw.put({ [`${prefix}/config`]: "{}" });
  const putBack = await server.copyData();
  await raw.put({ [`${prefix}/config`]: other });
  const store = stack.use(await openStore(proxy.endpoint));
  const versions: (NetworkConfigDocument | undefined)[] = [];
  const stop = new AbortController();
  const { text, revision } = await store.networkConfig(stop.signal);
  expect(text).toBe(other);
  const told = Promise.withResolvers<void>();
  const following = (async () => {
    for await (const version of store.watchNetworkConfig(revision, stop.signal)) {
      versions.push(version);
      told.resolve();
    }
  })();
  await whileCutOff(async () => {
    await putBack();
    await passTheirRevision();
  });
  await told.promise;
  stop.abort();
  await following;
  expect(versions.map((version) => version?.text)).toEqual(["{}"]);
});
