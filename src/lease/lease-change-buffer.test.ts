import { describe, expect, test } from "vitest";
import { revision } from "../../test/support/revision.ts";
import type { Lease, LeaseEvent } from "./lease.ts";
import { LeaseChangeBuffer } from "./lease-change-buffer.ts";

const never = new AbortController().signal;

function put(key: string, order: number): { event: LeaseEvent } {
  const written = { revision: revision(order), createdAt: revision(order) };
  const lease: Lease = { key, attributes: {}, ...written, isReservation: false, adapterData: 1 };
  return { event: { type: "put", lease } };
}

function remove(key: string, order: number): { event: LeaseEvent } {
  return { event: { type: "delete", key, revision: revision(order) } };
}

const garbage = (key: string) => ({ unreadable: { key, reason: "x" } });
const snapshot = (order: number) => ({
  type: "snapshot" as const,
  leases: [],
  unreadable: [],
  revision: revision(order),
});

describe("merging", () => {
  test("the last event of each key counts, in the order of revisions", async () => {
    const buffer = new LeaseChangeBuffer();
    buffer.pushEvents([put("a", 1), put("b", 2)], revision(2));
    buffer.pushEvents([remove("a", 3), put("c", 4), put("a", 5)], revision(5));
    const change = await buffer.take(never);
    expect(change).toEqual({
      type: "changes",
      changes: [put("b", 2).event, put("c", 4).event, put("a", 5).event],
      unreadable: [],
      revision: revision(5),
    });
  });

  test("an unreadable write leaves the lease before it; a readable one ends the report", async () => {
    const buffer = new LeaseChangeBuffer();
    buffer.pushEvents([put("a", 1), garbage("a"), garbage("b"), put("b", 4)], revision(4));
    expect(await buffer.take(never)).toMatchObject({
      changes: [put("a", 1).event, put("b", 4).event],
      unreadable: [{ key: "a" }],
    });
  });

  test("a snapshot replaces what is pending and comes before what follows", async () => {
    const buffer = new LeaseChangeBuffer();
    buffer.pushEvents([put("old", 1)], revision(1));
    buffer.pushSnapshot(snapshot(7));
    buffer.pushEvents([put("new", 8)], revision(8));
    expect(await buffer.take(never)).toEqual(snapshot(7));
    expect(await buffer.take(never)).toMatchObject({ changes: [put("new", 8).event] });
  });

  test("only the latest sign is reported, and none after newer events", async () => {
    const buffer = new LeaseChangeBuffer();
    buffer.pushSign({ type: "disconnected", reason: "x" });
    buffer.pushSign({ type: "contact", revision: revision(3) });
    expect(await buffer.take(never)).toEqual({ type: "contact", revision: revision(3) });
    buffer.pushSign({ type: "disconnected", reason: "x" });
    buffer.pushEvents([put("a", 4)], revision(4));
    expect(await buffer.take(never)).toMatchObject({ type: "changes" });
    const abort = new AbortController();
    const pending = buffer.take(abort.signal);
    abort.abort();
    expect(await pending).toBeUndefined();
  });
});

test("the writer waits when 20,000 keys are pending, until they are read", async () => {
  const buffer = new LeaseChangeBuffer();
  const items = Array.from({ length: 20_000 }, (_, index) => put(`k${index}`, index));
  buffer.pushEvents(items, revision(20_000));
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
