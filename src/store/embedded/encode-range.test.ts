import fc from "fast-check";
import { expect, it } from "vitest";
import { RangeResponse } from "../etcd/protocol/etcd.ts";
import { encodeRangeResponse } from "./encode-range.ts";

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
const response = fc.record({
  header: fc.option(
    fc.record({
      clusterId: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      memberId: fc.constant(7n),
      revision: int64,
      raftTerm: fc.constant(1n),
    }),
    { nil: undefined },
  ),
  kvs: fc.array(keyValue, { maxLength: 8 }),
  more: fc.boolean(),
  count: int64,
});

it("writes what the generated encoder writes", () => {
  fc.assert(
    fc.property(response, (message) => {
      const expected = RangeResponse.encode(message).finish();
      expect(Buffer.from(encodeRangeResponse(message)).equals(expected)).toBe(true);
    }),
    { numRuns: 5_000 },
  );
});
