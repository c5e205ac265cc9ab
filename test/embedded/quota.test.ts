// What the store does when its database has reached the quota, and how it gets out of it again.
import { statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { PutRequest, TxnRequest } from "../../src/etcd-api/etcd.ts";
import { EtcdConnection } from "../../src/store/etcd/etcd-connection.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { never } from "../etcd/fixture.ts";
import { EmbeddedServer } from "./embedded-server.ts";

let server: EmbeddedServer;
let connection: EtcdConnection;
const megabyte = Buffer.alloc(1024 * 1024);

beforeAll(async () => {
  server = await EmbeddedServer.start({ inMemory: true, extraArguments: ["--quota-mb", "16"] });
  connection = await EtcdConnection.open({ endpoints: server.endpoints });
});

afterAll(async () => {
  await connection[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

function put(key: string, value: Buffer = megabyte): Promise<unknown> {
  return connection.call(methods.put, PutRequest.fromPartial({ key: Buffer.from(key), value }), "put", never);
}

function remove(key: string, rangeEnd = ""): Promise<{ readonly deleted: bigint }> {
  const request = { key: Buffer.from(key), rangeEnd: Buffer.from(rangeEnd), prevKv: false };
  return connection.call(methods.deleteRange, request, "delete", never);
}

const isTaken = (write: () => Promise<unknown>) => () =>
  write().then(
    () => true,
    () => false,
  );

test("history alone does not fill it: it is forgotten early", async () => {
  for (let round = 0; round < 40; round++) {
    await until(
      isTaken(() => put("same")),
      { what: `write ${round} of the same key` },
    );
  }
  expect(statSync(join(server.dataDirectory, "store.db")).size).toBeLessThan(24 * 1024 * 1024);
  await remove("same");
});

test("full: puts and grants are refused, everything else works; it is over when keys are deleted", async () => {
  const { id } = await connection.call(methods.leaseGrant, { id: 0n, ttl: 600n }, "grant", never);
  let last: unknown;
  let taken = 0;
  // Until nothing is left to be forgotten.
  for (; taken < 30; taken++) {
    const deadline = performance.now() + 6_000;
    let isDone = false;
    while (!isDone && performance.now() < deadline) {
      isDone = await put(`fill/${String(taken).padStart(2, "0")}`).then(
        () => true,
        (error: unknown) => {
          last = error;
          return false;
        },
      );
    }
    if (!isDone) break;
  }
  expect(taken).toBeGreaterThan(8);
  expect(taken).toBeLessThan(17);
  expect(String(last)).toContain("mvcc: database space exceeded; etcd:");
  expect(String(last)).toContain("raise --quota-mb");
  const grants = connection.call(methods.leaseGrant, { id: 0n, ttl: 600n }, "grant", never);
  // A small one may still fit.
  await grants.catch((error: unknown) => expect(String(error)).toContain("database space exceeded"));
  const both = TxnRequest.fromPartial({
    success: [
      { requestDeleteRange: { key: Buffer.from("nothing") } },
      { requestPut: { key: Buffer.from("a"), value: megabyte } },
    ],
  });
  await expect(connection.call(methods.txn, both, "write", never)).rejects.toThrow("database space exceeded");
  expect(await server.control("alarm", "list")).toContain("alarm:NOSPACE");
  expect(server.member.log()).toContain("the database holds 16 MiB, as much as --quota-mb allows");
  expect(await connection.callStreamOnce(methods.leaseKeepAlive, { id }, "renew", never)).toMatchObject({ ttl: 600n });
  // It opens again as it is, and deletes.
  await server.member.restart("SIGTERM");
  await until(async () => (await remove("fill/", "fill0").catch(() => ({ deleted: 0n }))).deleted === BigInt(taken), {
    what: "the keys to be deleted",
  });
  await until(
    isTaken(() => put("after")),
    { what: "a put to be taken again" },
  );
  expect(await server.control("alarm", "list")).toBe("");
});
