import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { Event, Event_EventType, RangeResponse, WatchResponse } from "../../etcd-api/etcd.ts";
import {
  encodeDeleteEvent,
  encodePutEvent,
  encodeRangeResponse,
  frameKeyValue,
  unframeKeyValues,
} from "./key-value-frames.ts";

const int64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 300n }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n, -1n),
);
const keyValue = fc.record({
  key: fc.uint8Array({ maxLength: 200 }),
  createRevision: int64,
  modRevision: int64,
  version: int64,
  value: fc.uint8Array({ maxLength: 300 }),
  lease: int64,
});
const header = fc.record({
  clusterId: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  memberId: fc.constant(7n),
  revision: int64,
  raftTerm: fc.constant(1n),
});
const response = fc.record({
  header,
  kvs: fc.array(keyValue, { maxLength: 8 }),
  more: fc.boolean(),
  count: int64,
});

it("an answer to Range is what the generated encoder writes, and reads back", () => {
  fc.assert(
    fc.property(response, (message) => {
      const frames = Buffer.concat(message.kvs.map(frameKeyValue));
      const expected = RangeResponse.encode(message).finish();
      expect(Buffer.from(encodeRangeResponse({ ...message, frames })).equals(expected)).toBe(true);
      expect(RangeResponse.encode({ ...message, kvs: unframeKeyValues(frames) }).finish()).toEqual(expected);
    }),
    propertyRuns(5_000),
  );
});

it("events of a watch are what the generated encoder writes", () => {
  const previous = fc.option(keyValue, { nil: undefined });
  fc.assert(
    fc.property(keyValue, previous, fc.boolean(), (kv, prevKv, isPut) => {
      const before = prevKv && frameKeyValue(prevKv);
      const type = isPut ? Event_EventType.PUT : Event_EventType.DELETE;
      const gone = { key: kv.key, modRevision: kv.modRevision };
      const event = Event.fromPartial({ type, kv: isPut ? kv : gone, prevKv });
      const expected = WatchResponse.encode(WatchResponse.fromPartial({ events: [event] })).finish();
      const actual = isPut
        ? encodePutEvent(frameKeyValue(kv), before)
        : encodeDeleteEvent(kv.key, kv.modRevision, before);
      expect(Buffer.from(actual).equals(expected)).toBe(true);
    }),
    propertyRuns(5_000),
  );
});

it("SQLite joins frames byte for byte, whatever is in them", () => {
  using db = new DatabaseSync(":memory:");
  db.exec("CREATE TABLE t (frame BLOB)");
  const insert = db.prepare("INSERT INTO t VALUES (?)");
  const join = db.prepare("SELECT CAST(group_concat(frame, '') AS BLOB) AS joined FROM t");
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { minLength: 1 }), (frames) => {
      db.exec("DELETE FROM t");
      for (const frame of frames) insert.run(frame);
      expect(Buffer.from(join.get()?.["joined"] as Uint8Array).equals(Buffer.concat(frames))).toBe(true);
    }),
    propertyRuns(5_000),
  );
});
