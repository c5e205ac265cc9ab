import { afterEach, beforeEach, expect, test } from "vitest";
import { newDatabase } from "../../../test/support/store-database.ts";
import { PutRequest } from "../../etcd-api/etcd.ts";
import { refusals } from "../grpc/rpc-error.ts";
import { CommitQueue } from "./commit-queue.ts";
import type { Database } from "./database.ts";
import { Quota } from "./quota.ts";
import type { RevisionWriter } from "./revision-writer.ts";

let database: Database;
let queue: CommitQueue;
let published: string[];
let failures: unknown[];

beforeEach(() => {
  database = newDatabase();
  published = [];
  failures = [];
  queue = new CommitQueue({
    quota: new Quota(1024 ** 3, () => undefined),
    onScarce: () => undefined,
    database,
    revision: 1n,
    compactRevision: -1n,
    publish: ({ revision, changes }) => published.push(`${revision} ${changes.map(({ key }) => String(key)).join()}`),
    onFailure: (error) => failures.push(error),
  });
});

afterEach(() => {
  database[Symbol.dispose]();
});

function put(writer: RevisionWriter, key: string): bigint {
  writer.put(PutRequest.fromPartial({ key: Buffer.from(key) }));
  return writer.revision;
}

function failAfterPut(error: Error) {
  return (writer: RevisionWriter) => {
    writer.afterCommit(() => failures.push("done, although it failed"));
    put(writer, "odd");
    throw error;
  };
}

test.each([
  ["a defect", new TypeError("odd")],
  ["a refusal in the middle", refusals.tooManyOperations()],
  ["a value that SQLite does not take", Object.assign(new Error("too big"), { errcode: 18 })],
])("%s after a change: that operation alone is rejected, and nothing of it stays", async (_, error) => {
  const settled = await Promise.allSettled([
    queue.submit((writer) => put(writer, "a")),
    queue.submit(failAfterPut(error)),
    queue.submit((writer) => put(writer, "b")),
    queue.submit(() => {
      throw error;
    }),
    queue.submit((writer) => put(writer, "c")),
  ]);
  const rejected = { status: "rejected", reason: error };
  const done = (value: bigint) => ({ status: "fulfilled", value });
  expect(settled).toEqual([done(2n), rejected, done(3n), rejected, done(4n)]);
  expect(published).toEqual(["2 a", "3 b", "4 c"]);
  expect(database.lastRevision()).toBe(4n);
  expect(database.state(Buffer.from("odd"))).toBeUndefined();
  expect(failures).toEqual([]);
});

test("what the disk does not take is refused for all", async () => {
  const full = Object.assign(new Error("database or disk is full"), { errcode: 13 });
  const settled = await Promise.allSettled([
    queue.submit((writer) => put(writer, "a")),
    queue.submit(failAfterPut(full)),
  ]);
  const rejected = { status: "rejected", reason: refusals.noSpace() };
  expect(settled).toEqual([rejected, rejected]);
  expect(published).toEqual([]);
  expect(database.lastRevision()).toBeUndefined();
  expect(failures).toEqual([full]);
});
