// What an answer of the embedded store is worth: killed at any moment it loses nothing acknowledged and invents
// nothing, and the disk is told to sync before an answer leaves.
import { readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { PutRequest, RangeRequest, WatchRequest } from "../../src/etcd-api/etcd.ts";
import { EtcdConnection } from "../../src/store/etcd/etcd-connection.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { unknownPast } from "../../src/store/etcd/store-past.ts";
import { watchKeys } from "../../src/store/etcd/watch-keys.ts";
import { scaled } from "../support/fuzz.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { StoreClient } from "./store-client.ts";

const KILLS = scaled(200);
const WRITERS = 8;

const everything = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };

function put(key: string, value: string): PutRequest {
  return PutRequest.fromPartial({ key: Buffer.from(key), value: Buffer.from(value) });
}

/** Writes until the server dies. Keys are written once. */
async function writeUntilDead(client: StoreClient, name: string, acknowledged: Map<string, bigint>): Promise<void> {
  for (let count = 0; ; count++) {
    const key = `${name}-${count}`;
    const answer = await client.ask(methods.put, put(key, key));
    if ("error" in answer) return;
    acknowledged.set(key, answer.ok.header?.revision ?? 0n);
  }
}

/** The revisions of every put it has seen, in the order seen. */
function followPuts(connection: EtcdConnection, signal: AbortSignal): { revisions: bigint[]; done: Promise<void> } {
  const revisions: bigint[] = [];
  const follow = async () => {
    const range = { start: everything.key, end: everything.rangeEnd };
    for await (const item of watchKeys(connection, { range, startRevision: 1n, past: unknownPast() }, signal)) {
      if (item.type === "compacted") throw new Error("compacted");
      if (item.type === "events") revisions.push(...item.events.map(({ kv }) => kv?.modRevision ?? 0n));
    }
  };
  return { revisions, done: follow() };
}

test(`killed ${KILLS} times under load: nothing lost, nothing invented, watches go on`, {
  timeout: 1_200_000,
}, async () => {
  await using server = await EmbeddedServer.start();
  await using connection = await EtcdConnection.open({ endpoints: server.endpoints });
  const stop = new AbortController();
  const { revisions, done } = followPuts(connection, stop.signal);
  const acknowledged = new Map<string, bigint>();
  for (let kill = 0; kill < KILLS; kill++) {
    using client = new StoreClient(server.endpoints);
    const goal = acknowledged.size + 1 + Math.floor(Math.random() * 100);
    const names = Array.from({ length: WRITERS }, (_, writer) => `k${kill}-w${writer}`);
    const writers = names.map((name) => writeUntilDead(client, name, acknowledged));
    while (acknowledged.size < goal) await delay(1);
    await server.member.restart();
    await Promise.all(writers);
  }
  using client = new StoreClient(server.endpoints);
  const { kvs, header } = await client.call(methods.range, RangeRequest.fromPartial(everything));
  const found = new Map(kvs.map((kv) => [Buffer.from(kv.key).toString(), kv]));
  for (const [key, revision] of acknowledged) {
    expect(found.get(key)?.modRevision, key).toBe(revision);
    expect(Buffer.from(found.get(key)?.value ?? []).toString()).toBe(key);
  }
  // Of each writer at most the one write that was on its way when the store died.
  expect(kvs.length - acknowledged.size).toBeLessThanOrEqual(KILLS * WRITERS);
  const expected = Array.from({ length: kvs.length }, (_, index) => BigInt(index + 2));
  expect(kvs.map((kv) => kv.modRevision).sort((a, b) => Number(a - b))).toEqual(expected);
  expect(header?.revision).toBe(expected.at(-1));
  await until(() => revisions.length >= expected.length, { what: "the watch to have seen every put" });
  expect(revisions).toEqual(expected);
  stop.abort();
  await done;
});

/** A server whose system calls are written down; `during` gives those made while `work` is done. */
async function startTraced() {
  await using starting = new AsyncDisposableStack();
  const trace = "strace -f -qq -y -e trace=pwrite64,fdatasync,fsync,write,writev,sendmsg -o".split(" ");
  const file = join(tmpdir(), `flannel-store-trace-${process.pid}`);
  starting.defer(() => rm(file, { force: true }));
  const server = starting.use(await EmbeddedServer.start({ wrapper: [...trace, file] }));
  const client = starting.use(new StoreClient(server.endpoints));
  const during = async (work: () => Promise<unknown>) => {
    await client.call(methods.put, put("warm", "up"));
    const linesBefore = (await readFile(file, "utf8")).split("\n").length;
    await work();
    return (await readFile(file, "utf8")).split("\n").slice(linesBefore - 1);
  };
  const stack = starting.move();
  return { client, during, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const isSync = (line: string) => /(fdatasync|fsync)\(.*store\.db-wal.*= 0$/.test(line);

test("the sync of the log ends before the answer leaves, and before a watch hears of it", async () => {
  await using traced = await startTraced();
  const { client } = traced;
  using watch = client.watch();
  watch.send(WatchRequest.fromPartial({ createRequest: { key: Buffer.from("key") } }));
  await watch.until(() => watch.byWatcher.size > 0);
  const lines = await traced.during(async () => {
    await client.call(methods.put, put("key", "value"));
    expect(await watch.until(() => watch.byWatcher.get(0n)?.events.length === 1)).toBe(true);
  });
  const written = lines.findLastIndex((line) => /pwrite64\(.*store\.db-wal/.test(line));
  const synced = lines.findIndex((line, index) => index > written && isSync(line));
  const answered = lines.findIndex((line) => /(write|writev|sendmsg)\(\d+<(socket|TCP)/.test(line));
  expect(written, lines.join("\n")).toBeGreaterThanOrEqual(0);
  expect(synced).toBeGreaterThan(written);
  expect(answered).toBeGreaterThan(synced);
});

test("writes that arrive together share a sync", async () => {
  await using traced = await startTraced();
  const writes = 200;
  const lines = await traced.during(() =>
    Promise.all(Array.from({ length: writes }, (_, index) => traced.client.call(methods.put, put(`k${index}`, "v")))),
  );
  const syncs = lines.filter(isSync).length;
  expect(syncs).toBeGreaterThan(0);
  expect(syncs).toBeLessThan(writes / 4);
});
