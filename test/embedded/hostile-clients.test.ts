// Clients that do not read what they asked for, do not finish what they began, or only sit there: the store's memory stays
// within its promise, and others are served meanwhile.
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { PutRequest, RangeRequest, WatchRequest } from "../../src/etcd-api/etcd.ts";
import { frame } from "../../src/flannel-store/grpc/grpc-frames.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { RawHttp2 } from "./raw-http2.ts";
import { StoreClient } from "./store-client.ts";

/** Resident, the promise of docs/embedded-store.md. At rest it has 63. */
const MAX_MEGABYTES = 200;
const PUT = "/etcdserverpb.KV/Put";
const WATCH = "/etcdserverpb.Watch/Watch";
const every = { key: Buffer.from("big/"), rangeEnd: Buffer.from("big0") };

let server: EmbeddedServer;
let target: { readonly host: string; readonly port: number };

beforeAll(async () => {
  server = await EmbeddedServer.start({ inMemory: true });
  target = { host: "127.0.0.1", port: Number(new URL(server.endpoints).port) };
  using client = new StoreClient(server.endpoints);
  await probe(client);
  const value = Buffer.alloc(1_000_000, 120);
  for (let index = 0; index < 20; index++) {
    await client.call(methods.put, PutRequest.fromPartial({ key: Buffer.from(`big/${index}`), value }));
  }
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

function residentMegabytes(): number {
  const status = readFileSync(`/proc/${server.member.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
}

async function probe(client: StoreClient): Promise<void> {
  expect(await client.ask(methods.range, RangeRequest.fromPartial({ key: Buffer.from("k") }))).toHaveProperty("ok");
}

test("the hand-made client is understood: what it sends whole is done", async () => {
  using raw = new RawHttp2(target).read();
  const put = PutRequest.fromPartial({ key: Buffer.from("by-hand"), value: Buffer.from("x") });
  raw.data(raw.open(PUT), frame(PutRequest.encode(put).finish()), true);
  using client = new StoreClient(server.endpoints);
  const read = () => client.call(methods.range, RangeRequest.fromPartial({ key: put.key }));
  await until(async () => (await read()).kvs.length === 1, { what: "the key to be there" });
});

/** Attacks while one who was connected before and new ones call, and gives the most memory it had, in megabytes. */
async function mostWhile(attack: (stack: DisposableStack) => Promise<void>): Promise<number> {
  using stack = new DisposableStack();
  using old = new StoreClient(server.endpoints);
  await probe(old);
  let most = 0;
  const sampler = setInterval(() => {
    most = Math.max(most, residentMegabytes());
  }, 10);
  stack.defer(() => clearInterval(sampler));
  await attack(stack);
  for (let call = 0; call < 20; call++) {
    await probe(old);
    using client = new StoreClient(server.endpoints);
    await probe(client);
  }
  return most;
}

test("60 answers of 20 MB on each of 20 connections that nobody reads", async () => {
  const range = frame(RangeRequest.encode(RangeRequest.fromPartial(every)).finish());
  const most = await mostWhile(async (stack) => {
    for (let index = 0; index < 20; index++) {
      const raw = stack.use(new RawHttp2(target));
      for (let call = 0; call < 60; call++) raw.data(raw.open("/etcdserverpb.KV/Range"), range, true);
      await raw.flushed();
    }
  });
  expect(most).toBeLessThanOrEqual(MAX_MEGABYTES);
});

test("requests of 1 MB that do not end, on many streams", async () => {
  const part = Buffer.concat([Buffer.from([0, 0, 0x17, 0, 0]), Buffer.alloc(1_000_000)]);
  const most = await mostWhile(async (stack) => {
    for (let index = 0; index < 10; index++) {
      const raw = stack.use(new RawHttp2(target)).read();
      for (let call = 0; call < 20; call++) {
        raw.data(raw.open(PUT), part);
        await raw.flushed();
      }
    }
  });
  expect(most).toBeLessThanOrEqual(MAX_MEGABYTES);
});

test("1,050 idle connections, and 20 with as many unfinished calls as they get", async () => {
  const most = await mostWhile(async (stack) => {
    for (let index = 0; index < 1_050; index++) {
      const socket = connect(target).on("error", () => undefined);
      stack.defer(() => socket.destroy());
      await new Promise<void>((resolve) => {
        socket.once("connect", resolve).once("close", resolve);
      });
    }
    for (let index = 0; index < 20; index++) {
      const raw = stack.use(new RawHttp2(target)).read();
      for (let call = 0; call < 1_000; call++) raw.data(raw.open(PUT), Uint8Array.of(0));
      await raw.flushed();
    }
  });
  expect(most).toBeLessThanOrEqual(MAX_MEGABYTES);
});

test("watches with keys of a megabyte, and watches of large values that nobody reads", async () => {
  const most = await mostWhile(async (stack) => {
    const long = stack.use(new RawHttp2(target)).read();
    const stream = long.open(WATCH);
    const key = Buffer.alloc(1_000_000, 120);
    const create = frame(WatchRequest.encode(WatchRequest.fromPartial({ createRequest: { key } })).finish());
    for (let index = 0; index < 100; index++) {
      long.data(stream, create);
      await long.flushed();
    }
    for (let index = 0; index < 1_000; index++) {
      const deaf = stack.use(new RawHttp2(target));
      const createRequest = { key: Buffer.from("w"), watchId: BigInt(index + 1), prevKv: true };
      deaf.data(deaf.open(WATCH), frame(WatchRequest.encode(WatchRequest.fromPartial({ createRequest })).finish()));
      if (index % 50 === 0) await deaf.flushed();
    }
    using client = new StoreClient(server.endpoints);
    for (let index = 0; index < 5; index++) {
      const put = PutRequest.fromPartial({ key: Buffer.from("w"), value: Buffer.alloc(1_000_000) });
      await client.call(methods.put, put);
    }
  });
  expect(most).toBeLessThanOrEqual(MAX_MEGABYTES);
});

test("a request that does not end is ended, with a sentence; a watch stream may be silent for longer", async () => {
  using client = new StoreClient(server.endpoints);
  using silent = client.watch();
  const asIs = (bytes: Buffer) => bytes;
  const { promise, resolve } = Promise.withResolvers<string>();
  const call = client.client.makeClientStreamRequest(PUT, asIs, asIs, (error) => resolve(error?.details ?? "answered"));
  expect(await promise).toBe("flannel-store: the request was not complete in time: send it faster");
  call.cancel();
  silent.send(WatchRequest.fromPartial({ createRequest: { key: Buffer.from("silent"), watchId: 7n } }));
  expect(await silent.until(() => silent.byWatcher.get(7n)?.notes[0]?.created === true)).toBe(true);
});

test("an answer larger than the budget arrives whole, with and without values, up to a limit", async () => {
  await using own = await EmbeddedServer.start({ inMemory: true, extraArguments: ["--memory-mb", "16"] });
  using client = new StoreClient(own.endpoints);
  const count = 24;
  for (let index = 0; index < count; index++) {
    const key = Buffer.from(`big/${String(index).padStart(2, "0")}`);
    await client.call(methods.put, PutRequest.fromPartial({ key, value: Buffer.alloc(1_000_000, index) }));
  }
  const ask = (more: object) => client.call(methods.range, RangeRequest.fromPartial({ ...every, ...more }));
  const whole = await ask({});
  expect(whole).toMatchObject({ count: BigInt(count), more: false });
  expect(whole.kvs.map(({ value }) => [value.length, value[0]])).toEqual(
    Array.from({ length: count }, (_, index) => [1_000_000, index]),
  );
  const keys = await ask({ keysOnly: true, limit: 10n });
  expect(keys).toMatchObject({ count: BigInt(count), more: true });
  expect(keys.kvs.map(({ value }) => value.length)).toEqual(Array.from({ length: 10 }, () => 0));
  const late = await ask({ minModRevision: 12n, limit: 9n });
  expect(late.kvs.map(({ modRevision }) => modRevision)).toEqual([12n, 13n, 14n, 15n, 16n, 17n, 18n, 19n, 20n]);
  expect(late).toMatchObject({ count: BigInt(count), more: true });
  expect(await client.ask(methods.range, RangeRequest.fromPartial({ ...every, sortOrder: 2, sortTarget: 4 }))).toEqual({
    error: expect.stringContaining("8 flannel-store: more than 4 MiB would have to be sorted"),
  });
});
