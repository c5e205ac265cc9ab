// Leases over restarts and clock jumps, slow watchers, compaction and the size of the file.
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import {
  CompactionRequest,
  PutRequest,
  RangeRequest,
  TxnRequest,
  WatchRequest,
} from "../../src/store/etcd/protocol/etcd.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { StoreClient } from "./store-client.ts";

function put(key: string, value: string | Uint8Array, lease = 0n): PutRequest {
  return PutRequest.fromPartial({ key: Buffer.from(key), value: Buffer.from(value), lease });
}

function get(key: string): RangeRequest {
  return RangeRequest.fromPartial({ key: Buffer.from(key) });
}

async function residentBytes(pid: number): Promise<number> {
  const match = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, "utf8"));
  return Number(match?.[1]) * 1024;
}

test("a lease keeps at least its remaining time over a kill, and what it had left over a stop", async () => {
  await using server = await EmbeddedServer.start();
  const grant = { id: 77n, ttl: 1_000n };
  {
    using client = new StoreClient(server.endpoints);
    await client.call(methods.leaseGrant, grant);
    await client.call(methods.leaseGrant, { id: 78n, ttl: 4n });
    await client.call(methods.put, put("short", "x", 78n));
  }
  await server.member.restart("SIGKILL");
  {
    using client = new StoreClient(server.endpoints);
    const { ttl } = await client.call(methods.leaseTimeToLive, { id: 77n, keys: false });
    expect(ttl).toBeGreaterThanOrEqual(995n);
    await delay(1_500);
  }
  await server.member.restart("SIGTERM");
  using client = new StoreClient(server.endpoints);
  const stopped = await client.call(methods.leaseTimeToLive, { id: 77n, keys: false });
  expect(stopped.ttl).toBeLessThan(999n);
  expect(stopped.ttl).toBeGreaterThan(900n);
  // Kept alive, it has its full time again, also after a kill.
  expect((await client.keepAlive(77n)).ttl).toBe(1_000n);
  await server.member.restart("SIGKILL");
  using after = new StoreClient(server.endpoints);
  expect((await after.call(methods.leaseTimeToLive, { id: 77n, keys: false })).ttl).toBeGreaterThanOrEqual(995n);
  const isGone = async () => (await after.call(methods.range, get("short"))).kvs.length === 0;
  for (let waited = 0; waited < 15_000 && !(await isGone()); waited += 100) await delay(100);
  expect(await isGone()).toBe(true);
});

test("a jump of the wall clock by a year ends no lease", async () => {
  const library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
  // The wall clock runs a year per minute; the monotonic one is left alone.
  const wrapper = ["env", `LD_PRELOAD=${library}`, "FAKETIME=+0 x500000", "DONT_FAKE_MONOTONIC=1"];
  await using server = await EmbeddedServer.start({ wrapper });
  using client = new StoreClient(server.endpoints);
  await client.call(methods.leaseGrant, { id: 5n, ttl: 30n });
  await client.call(methods.put, put("k", "v", 5n));
  await delay(2_000);
  expect((await client.call(methods.leaseTimeToLive, { id: 5n, keys: false })).ttl).toBeGreaterThan(20n);
  expect((await client.call(methods.range, get("k"))).kvs).toHaveLength(1);
});

test("a watcher that does not read costs nobody else time or memory, and later gets everything", async () => {
  await using server = await EmbeddedServer.start({ inMemory: true });
  using slowClient = new StoreClient(server.endpoints);
  using client = new StoreClient(server.endpoints);
  using slow = slowClient.watch();
  const createRequest = { key: Buffer.from("k"), fragment: false };
  slow.send(WatchRequest.fromPartial({ createRequest }));
  await slow.until(() => slow.byWatcher.size > 0, 5_000);
  slow.pause();
  using quick = client.watch();
  quick.send(WatchRequest.fromPartial({ createRequest }));
  await quick.until(() => quick.byWatcher.size > 0, 5_000);
  const before = await residentBytes(server.member.pid);
  const value = Buffer.alloc(256 * 1024, 120);
  const count = 800;
  for (let index = 0; index < count; index++) await client.call(methods.put, put("k", value));
  expect(await quick.until(() => quick.byWatcher.get(0n)?.events.length === count, 20_000)).toBe(true);
  // 200 MB have been written.
  expect((await residentBytes(server.member.pid)) - before).toBeLessThan(120 * 1024 * 1024);
  slow.resume();
  expect(await slow.until(() => slow.byWatcher.get(0n)?.events.length === count, 20_000)).toBe(true);
  const revisions = slow.byWatcher.get(0n)!.events.map(({ kv }) => kv?.modRevision);
  expect(revisions).toEqual(quick.byWatcher.get(0n)!.events.map(({ kv }) => kv?.modRevision));
  expect(slow.oddities).toEqual([]);
});

test("progress is told on request, after everything before it", async () => {
  await using server = await EmbeddedServer.start({ inMemory: true });
  using client = new StoreClient(server.endpoints);
  for (let index = 0; index < 50; index++) await client.call(methods.put, put(`k${index}`, "v"));
  using watch = client.watch();
  const createRequest = { key: Buffer.from("k"), rangeEnd: Buffer.from("l"), startRevision: 2n };
  watch.send(WatchRequest.fromPartial({ createRequest }));
  watch.send(WatchRequest.fromPartial({ progressRequest: {} }));
  expect(await watch.until(() => watch.byWatcher.has(-1n), 5_000)).toBe(true);
  expect(watch.byWatcher.get(-1n)?.notes[0]?.header?.revision).toBe(51n);
  expect(watch.byWatcher.get(0n)?.events).toHaveLength(50);
});

test("a transaction too large for one message reaches a watcher in fragments", async () => {
  await using server = await EmbeddedServer.start({ inMemory: true });
  using client = new StoreClient(server.endpoints);
  using watch = client.watch();
  const createRequest = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0), fragment: true };
  watch.send(WatchRequest.fromPartial({ createRequest }));
  await watch.until(() => watch.byWatcher.size > 0, 5_000);
  const big = Array.from({ length: 4 }, (_, index) => put(`big${index}`, Buffer.alloc(1_000_000)));
  for (const request of big) await client.call(methods.put, request);
  const success = [{ requestDeleteRange: { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) } }];
  watch.send(WatchRequest.fromPartial({ createRequest: { ...createRequest, prevKv: true } }));
  await watch.until(() => watch.byWatcher.has(1n), 5_000);
  await client.call(methods.txn, TxnRequest.fromPartial({ success }));
  expect(await watch.until(() => watch.byWatcher.get(1n)?.events.length === 4, 10_000)).toBe(true);
  expect(watch.fragments).toBeGreaterThanOrEqual(2);
});

test("compaction gives the room back to the file system", { timeout: 120_000 }, async () => {
  await using server = await EmbeddedServer.start({ inMemory: true });
  using client = new StoreClient(server.endpoints);
  const value = Buffer.alloc(20_000, 1);
  for (let round = 0; round < 20; round++) {
    await Promise.all(Array.from({ length: 50 }, (_, index) => client.call(methods.put, put(`k${index}`, value))));
  }
  const { header } = await client.call(methods.range, get("k0"));
  const request = CompactionRequest.fromPartial({ revision: header?.revision ?? 0n, physical: true });
  await client.call(methods.compact, request);
  expect((await stat(join(server.dataDirectory, "store.db"))).size).toBeLessThan(3_000_000);
  const kvs = await client.call(
    methods.range,
    RangeRequest.fromPartial({ key: Buffer.from("k"), rangeEnd: Buffer.from("l") }),
  );
  expect(kvs.kvs).toHaveLength(50);
});
