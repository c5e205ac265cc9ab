// Leases over restarts and clock jumps, slow watchers, compaction and the size of the file.
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import {
  CompactionRequest,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  TxnRequest,
  WatchRequest,
} from "../../src/etcd-api/etcd.ts";
import { StoreServer } from "../../src/flannel-store/server/store-server.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { faketimeLibrary } from "../support/fake-clock.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { StoreClient } from "./store-client.ts";

function put(key: string, value: string | Uint8Array, lease = 0n): PutRequest {
  return PutRequest.fromPartial({ key: Buffer.from(key), value: Buffer.from(value), lease });
}

function get(key: string): RangeRequest {
  return RangeRequest.fromPartial({ key: Buffer.from(key) });
}

async function residentBytes(pid: number, kind: "VmRSS" | "RssFile" = "VmRSS"): Promise<number> {
  const match = new RegExp(`^${kind}:\\s+(\\d+) kB`, "m").exec(await readFile(`/proc/${pid}/status`, "utf8"));
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
    const left = async () => (await client.call(methods.leaseTimeToLive, { id: 77n, keys: false })).ttl;
    expect(await left()).toBeGreaterThanOrEqual(900n);
    await until(async () => (await left()) < 999n, { what: "a second of its life to pass" });
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
  expect((await after.call(methods.leaseTimeToLive, { id: 77n, keys: false })).ttl).toBeGreaterThanOrEqual(900n);
  const isGone = async () => (await after.call(methods.range, get("short"))).kvs.length === 0;
  await until(isGone, { what: "the short lease to end" });
});

test("a jump of the wall clock by a year ends no lease", async () => {
  // The wall clock runs a year in six seconds; the monotonic one is left alone.
  const wrapper = ["env", `LD_PRELOAD=${faketimeLibrary()}`, "FAKETIME=+0 x5000000", "DONT_FAKE_MONOTONIC=1"];
  await using server = await EmbeddedServer.start({ wrapper });
  using client = new StoreClient(server.endpoints);
  await client.call(methods.leaseGrant, { id: 5n, ttl: 1_000n });
  await client.call(methods.put, put("k", "v", 5n));
  const left = async () => (await client.call(methods.leaseTimeToLive, { id: 5n, keys: false })).ttl;
  // Whole seconds of what the store itself takes for time: two or more are months on the wall clock.
  await until(async () => (await left()) < 998n, { what: "two seconds to pass in the store" });
  expect(await left()).toBeGreaterThan(900n);
  expect((await client.call(methods.range, get("k"))).kvs).toHaveLength(1);
});

test("a store that was stopped for a while ends no lease before its holder could be heard", async () => {
  await using server = await EmbeddedServer.start({ inMemory: true });
  using client = new StoreClient(server.endpoints);
  await client.call(methods.leaseGrant, { id: 5n, ttl: 2n });
  await client.call(methods.put, put("k", "v", 5n));
  server.member.signal("SIGSTOP");
  await delay(3_500); // longer than its life, with nobody to ask
  // Sent while it cannot hear.
  const kept = client.keepAlive(5n);
  server.member.signal("SIGCONT");
  expect((await kept).ttl).toBe(2n);
  expect((await client.call(methods.range, get("k"))).kvs).toHaveLength(1);
  // And not for ever.
  const isGone = async () => (await client.call(methods.range, get("k"))).kvs.length === 0;
  await until(isGone, { what: "the lease to end" });
});

test("a watcher that does not read costs nobody else time or memory, and later gets everything", async () => {
  await using server = await EmbeddedServer.start({ inMemory: true });
  using slowClient = new StoreClient(server.endpoints);
  using client = new StoreClient(server.endpoints);
  using slow = slowClient.watch();
  const createRequest = { key: Buffer.from("k"), fragment: false };
  slow.send(WatchRequest.fromPartial({ createRequest }));
  await slow.until(() => slow.byWatcher.size > 0);
  slow.pause();
  using quick = client.watch();
  quick.send(WatchRequest.fromPartial({ createRequest }));
  await quick.until(() => quick.byWatcher.size > 0);
  const before = await residentBytes(server.member.pid);
  const value = Buffer.alloc(256 * 1024, 120);
  const count = 800;
  for (let index = 0; index < count; index++) await client.call(methods.put, put("k", value));
  expect(await quick.until(() => quick.byWatcher.get(0n)?.events.length === count)).toBe(true);
  // 200 MB have been written.
  expect((await residentBytes(server.member.pid)) - before).toBeLessThan(120 * 1024 * 1024);
  slow.resume();
  expect(await slow.until(() => slow.byWatcher.get(0n)?.events.length === count)).toBe(true);
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
  expect(await watch.until(() => watch.byWatcher.has(-1n))).toBe(true);
  expect(watch.byWatcher.get(-1n)?.notes[0]?.header?.revision).toBe(51n);
  expect(watch.byWatcher.get(0n)?.events).toHaveLength(50);
});

test("a watcher that asked for it hears now and then that nothing happened, and at which revision", async () => {
  await using host = await shortLivedServer({ progressIntervalMs: 100 });
  using client = new StoreClient(host.endpoint);
  using watch = client.watch();
  for (const progressNotify of [true, false]) {
    watch.send(WatchRequest.fromPartial({ createRequest: { key: Buffer.from("k"), progressNotify } }));
  }
  const revisions = (id: bigint) => watch.byWatcher.get(id)?.notes.map(({ header }) => header?.revision) ?? [];
  expect(await watch.until(() => revisions(0n).length > 2)).toBe(true);
  await client.call(methods.put, put("other", "v"));
  expect(await watch.until(() => revisions(0n).at(-1) === 2n)).toBe(true);
  // It has only been told that it was created.
  expect(revisions(1n)).toEqual([1n]);
});

test("history is forgotten by itself when it is old, and the file shrinks", async () => {
  await using host = await shortLivedServer({ retentionMs: 1_000 });
  using client = new StoreClient(host.endpoint);
  const value = Buffer.alloc(20_000, 1);
  for (let round = 0; round < 10; round++) {
    await Promise.all(Array.from({ length: 50 }, (_, index) => client.call(methods.put, put(`k${index}`, value))));
  }
  const isForgotten = async () =>
    "error" in (await client.ask(methods.range, RangeRequest.fromPartial({ key: Buffer.from("k0"), revision: 490n })));
  await until(isForgotten, { what: "the past to be compacted" });
  const isSmall = async () => (await stat(join(host.directory, "store.db"))).size < 3_000_000;
  await until(isSmall, { what: "the file to shrink" });
  expect((await client.call(methods.range, get("k0"))).kvs).toHaveLength(1);
});

/** In this process: with times that a person would not choose. */
async function shortLivedServer(times: { retentionMs?: number; progressIntervalMs?: number }) {
  const stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "flannel-short-"));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const listen = [{ host: "127.0.0.1", port: 0 }];
  const fail = (error: unknown) => {
    throw error;
  };
  const server = stack.use(await StoreServer.open({ directory, listen, onFailure: fail, ...times }));
  return { directory, endpoint: server.urls[0]!, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test("a transaction too large for one message reaches a watcher in fragments", async () => {
  await using server = await EmbeddedServer.start({ inMemory: true });
  using client = new StoreClient(server.endpoints);
  using watch = client.watch();
  const createRequest = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0), fragment: true };
  watch.send(WatchRequest.fromPartial({ createRequest }));
  await watch.until(() => watch.byWatcher.size > 0);
  const big = Array.from({ length: 4 }, (_, index) => put(`big${index}`, Buffer.alloc(1_000_000)));
  for (const request of big) await client.call(methods.put, request);
  const success = [{ requestDeleteRange: { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) } }];
  watch.send(WatchRequest.fromPartial({ createRequest: { ...createRequest, prevKv: true } }));
  await watch.until(() => watch.byWatcher.has(1n));
  await client.call(methods.txn, TxnRequest.fromPartial({ success }));
  expect(await watch.until(() => watch.byWatcher.get(1n)?.events.length === 4)).toBe(true);
  expect(watch.fragments).toBeGreaterThanOrEqual(2);
});

test("200,000 keys deleted at once reach a watcher", async () => {
  await using server = await EmbeddedServer.start({ inMemory: true });
  using client = new StoreClient(server.endpoints);
  const count = 200_000;
  for (let from = 0; from < count; from += 1_000) {
    const keys = Array.from({ length: 1_000 }, (_, index) => `k${from + index}`);
    const batches = Array.from({ length: 8 }, (_, batch) => keys.slice(batch * 125, (batch + 1) * 125));
    const toTxn = (batch: string[]) =>
      TxnRequest.fromPartial({ success: batch.map((key) => ({ requestPut: put(key, "v") })) });
    await Promise.all(batches.map((batch) => client.call(methods.txn, toTxn(batch))));
  }
  using watch = client.watch();
  const everything = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };
  watch.send(WatchRequest.fromPartial({ createRequest: everything }));
  await watch.until(() => watch.byWatcher.size > 0);
  const { deleted } = await client.call(methods.deleteRange, DeleteRangeRequest.fromPartial(everything));
  expect(deleted).toBe(BigInt(count));
  expect(await watch.until(() => watch.byWatcher.get(0n)?.events.length === count)).toBe(true);
});

test("compaction gives the room back to the file system", async () => {
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

test("program text that only the start needed is given back, and the store goes on", async () => {
  await using server = await EmbeddedServer.start({ inMemory: true });
  using client = new StoreClient(server.endpoints);
  const atStart = await residentBytes(server.member.pid, "RssFile");
  let puts = 0;
  const isGivenBack = async () => {
    for (let index = 0; index < 100; index++, puts++)
      await client.call(methods.put, put(`key/${puts % 50}`, `${puts}`));
    return (await residentBytes(server.member.pid, "RssFile")) < atStart / 2;
  };
  await until(isGivenBack, { what: "half of the program's pages to be given back" });
  const { kvs } = await client.call(methods.range, get(`key/${(puts - 1) % 50}`));
  expect(kvs.map(({ value }) => Buffer.from(value).toString())).toEqual([String(puts - 1)]);
});
