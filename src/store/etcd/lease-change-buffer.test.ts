import { describe, expect, test } from "vitest";
import type { Lease, LeaseEvent } from "../../lease/lease.ts";
import { LeaseChangeBuffer } from "./lease-change-buffer.ts";

const never = new AbortController().signal;

function put(key: string, revision: bigint): { event: LeaseEvent } {
  const lease: Lease = { key, attributes: {}, revision, storeLeaseId: 1n };
  return { event: { type: "put", lease } };
}

function remove(key: string, revision: bigint): { event: LeaseEvent } {
  return { event: { type: "delete", key, revision } };
}

const garbage = (key: string) => ({ unreadable: { key, reason: "x" } });
const snapshot = (revision: bigint) => ({ type: "snapshot" as const, leases: [], unreadable: [], revision });

describe("merging", () => {
  test("the last event of each key counts, in the order of revisions", async () => {
    const buffer = new LeaseChangeBuffer();
    buffer.pushEvents([put("a", 1n), put("b", 2n)], 2n);
    buffer.pushEvents([remove("a", 3n), put("c", 4n), put("a", 5n)], 5n);
    const change = await buffer.take(never);
    expect(change).toEqual({
      type: "changes",
      changes: [put("b", 2n).event, put("c", 4n).event, put("a", 5n).event],
      unreadable: [],
      revision: 5n,
    });
  });

  test("an unreadable write leaves the lease before it; a readable one ends the report", async () => {
    const buffer = new LeaseChangeBuffer();
    buffer.pushEvents([put("a", 1n), garbage("a"), garbage("b"), put("b", 4n)], 4n);
    expect(await buffer.take(never)).toMatchObject({
      changes: [put("a", 1n).event, put("b", 4n).event],
      unreadable: [{ key: "a" }],
    });
  });

  test("a snapshot replaces what is pending and comes before what follows", async () => {
    const buffer = new LeaseChangeBuffer();
    buffer.pushEvents([put("old", 1n)], 1n);
    buffer.pushSnapshot(snapshot(7n));
    buffer.pushEvents([put("new", 8n)], 8n);
    expect(await buffer.take(never)).toEqual(snapshot(7n));
    expect(await buffer.take(never)).toMatchObject({ changes: [put("new", 8n).event] });
  });

  test("only the latest sign is told, and none after newer events", async () => {
    const buffer = new LeaseChangeBuffer();
    buffer.pushSign({ type: "disconnected", reason: "x" });
    buffer.pushSign({ type: "contact", revision: 3n });
    expect(await buffer.take(never)).toEqual({ type: "contact", revision: 3n });
    buffer.pushSign({ type: "disconnected", reason: "x" });
    buffer.pushEvents([put("a", 4n)], 4n);
    expect(await buffer.take(never)).toMatchObject({ type: "changes" });
    const abort = new AbortController();
    const pending = buffer.take(abort.signal);
    abort.abort();
    expect(await pending).toBeUndefined();
  });
});

test("the writer waits when 20,000 keys are pending, until they are read", async () => {
  const buffer = new LeaseChangeBuffer();
  const items = Array.from({ length: 20_000 }, (_, index) => put(`k${index}`, BigInt(index)));
  buffer.pushEvents(items, 20_000n);
  let hasRoom = false;
  const waiting = buffer.waitForRoom(never).then(() => {
    hasRoom = true;
  });
  await new Promise(setImmediate);
  expect(hasRoom).toBe(false);
  await buffer.take(never);
  await waiting;
  expect(hasRoom).toBe(true);
});
