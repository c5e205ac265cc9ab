// What the store does not let grow, and what it says when asked for more, or for what it does not have.
import { readFile } from "node:fs/promises";
import type { Client } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { PutRequest, RangeRequest, WatchRequest } from "../../src/etcd-api/etcd.ts";
import { isServiceError } from "../../src/store/etcd/etcd-errors.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { StoreClient, type WatchRecorder } from "./store-client.ts";

let server: EmbeddedServer;

beforeAll(async () => {
  server = await EmbeddedServer.start({ inMemory: true });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const get = RangeRequest.fromPartial({ key: Buffer.from("k") });

/** A call of any method: the answer's bytes, or the error as code and text. */
function callRaw(client: Client, path: string): Promise<string> {
  const asIs = (bytes: Buffer) => bytes;
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  client.makeUnaryRequest(path, asIs, asIs, Buffer.alloc(0), (error, answer) => {
    if (error === null) resolve(answer?.toString("hex") ?? "");
    else if (isServiceError(error)) resolve(`${error.code} ${error.details}`);
    else reject(error);
  });
  return promise;
}

function created(watch: WatchRecorder): number {
  return [...watch.byWatcher.values()].flatMap(({ notes }) => notes).filter((note) => note.created).length;
}

/** The rest of etcd's API. */
const missing = [
  ...["AuthEnable", "AuthDisable", "UserAdd", "UserGet", "UserList", "UserDelete", "UserChangePassword"],
  ...["UserGrantRole", "UserRevokeRole", "RoleAdd", "RoleGet", "RoleList", "RoleDelete", "RoleGrantPermission"],
  "RoleRevokePermission",
].map((name) => `etcdserverpb.Auth/${name}`);
const others = [
  ...["MemberAdd", "MemberRemove", "MemberUpdate", "MemberPromote"].map((name) => `etcdserverpb.Cluster/${name}`),
  ...["Hash", "HashKV", "Snapshot", "MoveLeader"].map((name) => `etcdserverpb.Maintenance/${name}`),
  ...["v3lockpb.Lock/Lock", "v3electionpb.Election/Campaign", "grpc.health.v1.Health/Watch", "any.Thing/Else"],
];

test.each([...missing, ...others])("%s is not implemented, and a sentence says so", async (path) => {
  using client = new StoreClient(server.endpoints);
  const method = path.split("/")[1];
  expect(await callRaw(client.client, `/${path}`)).toBe(
    `12 flannel-store: ${method} is not offered by the embedded store; use a real etcd for it`,
  );
});

test("the standard health check says SERVING", async () => {
  using client = new StoreClient(server.endpoints);
  expect(await callRaw(client.client, "/grpc.health.v1.Health/Check")).toBe("0801");
});

test("a caller has 4,000 watches, one more is refused, and there is room again when one ends", async () => {
  await using own = await EmbeddedServer.start({ inMemory: true });
  using client = new StoreClient(own.endpoints);
  using watch = client.watch();
  const createRequest = { key: Buffer.from("k") };
  for (let index = 0; index < 4_000; index++) watch.send(WatchRequest.fromPartial({ createRequest }));
  expect(await watch.until(() => watch.byWatcher.size === 4_000)).toBe(true);
  watch.send(WatchRequest.fromPartial({ createRequest }));
  expect(await watch.until(() => watch.byWatcher.has(-1n))).toBe(true);
  expect(watch.byWatcher.get(-1n)?.notes).toMatchObject([
    { created: true, canceled: true, cancelReason: "etcdserver: too many requests" },
  ]);
  using other = new StoreClient(own.endpoints);
  using others = other.watch();
  others.send(WatchRequest.fromPartial({ createRequest }));
  expect(await others.until(() => created(others) === 1)).toBe(true);
  watch.send(WatchRequest.fromPartial({ cancelRequest: { watchId: 9n } }));
  watch.send(WatchRequest.fromPartial({ createRequest }));
  expect(await watch.until(() => watch.byWatcher.size === 4_002)).toBe(true);
});

test("1,000 connections are served; for one more an idle one is closed, never one with an open call", async () => {
  await using stack = new AsyncDisposableStack();
  const own = stack.use(await EmbeddedServer.start({ inMemory: true }));
  const clients = Array.from({ length: 1_000 }, () => stack.use(new StoreClient(own.endpoints)));
  const watch = stack.use(clients[0]!.watch());
  watch.send(WatchRequest.fromPartial({ createRequest: { key: Buffer.from("k") } }));
  expect(await watch.until(() => created(watch) === 1)).toBe(true);
  for (let from = 0; from < clients.length; from += 50) {
    await Promise.all(clients.slice(from, from + 50).map((client) => client.call(methods.range, get)));
  }
  const next = stack.use(new StoreClient(own.endpoints));
  expect(await next.ask(methods.range, get)).toHaveProperty("ok");
  // The oldest was watching and stays; the second gave way and comes back.
  await next.call(methods.put, PutRequest.fromPartial({ key: Buffer.from("k") }));
  expect(await watch.until(() => [...watch.byWatcher.values()][0]?.events.length === 1)).toBe(true);
  const isServed = async () => "ok" in (await clients[1]!.ask(methods.range, get));
  await until(isServed, { what: "the one that was closed to be served again" });
});

test("many streams of one connection that nobody reads cost little memory, and get everything later", async () => {
  await using own = await EmbeddedServer.start({ inMemory: true });
  using stuck = new StoreClient(own.endpoints);
  using client = new StoreClient(own.endpoints);
  const streams = 100;
  const watches = Array.from({ length: streams }, () => stuck.watch());
  for (const [index, watch] of watches.entries()) {
    // An id of each one's own: no two are sent the same bytes.
    const createRequest = { key: Buffer.from("k"), watchId: BigInt(index + 1) };
    watch.send(WatchRequest.fromPartial({ createRequest }));
  }
  for (const watch of watches) expect(await watch.until(() => created(watch) === 1)).toBe(true);
  for (const watch of watches) watch.pause();
  const before = await residentBytes(own.member.pid);
  const value = Buffer.alloc(1_000_000, 120);
  for (let index = 0; index < 5; index++) {
    await client.call(methods.put, PutRequest.fromPartial({ key: Buffer.from("k"), value }));
  }
  // Five megabytes for each of a hundred streams.
  expect((await residentBytes(own.member.pid)) - before).toBeLessThan(60 * 1024 * 1024);
  for (const watch of watches) watch.resume();
  const hasAll = (watch: WatchRecorder) => [...watch.byWatcher.values()][0]?.events.length === 5;
  for (const watch of watches) expect(await watch.until(() => hasAll(watch))).toBe(true);
});

async function residentBytes(pid: number): Promise<number> {
  const match = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, "utf8"));
  return Number(match?.[1]) * 1024;
}
