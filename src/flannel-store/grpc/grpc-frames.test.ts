import fc from "fast-check";
import { expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { FrameReader, frame } from "./grpc-frames.ts";
import { RpcError } from "./rpc-error.ts";

it("gives back the messages however the bytes are cut", () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 });
  const cuts = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(messages, cuts, (sent, lengths) => {
      const bytes = Buffer.concat(sent.map(frame));
      const reader = new FrameReader(100);
      const received: Buffer[] = [];
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const end = at + (lengths[turn % lengths.length] ?? 1);
        received.push(...reader.push(bytes.subarray(at, end)));
        at = end;
      }
      expect(received.map((message) => [...message])).toEqual(sent.map((message) => [...message]));
    }),
    propertyRuns(2_000),
  );
});

it("refuses what is compressed or too long before reading it", () => {
  expect(() => new FrameReader(10).push(Buffer.from([1, 0, 0, 0, 0]))).toThrow("compressed");
  expect(() => new FrameReader(10).push(Buffer.from([0, 0, 0, 0, 11]))).toThrow("larger than max (11 vs. 10)");
});

it("meets any bytes with messages or a refusal", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 12 }), { maxLength: 5 }), (pieces) => {
      const reader = new FrameReader(1_000);
      try {
        for (const piece of pieces) reader.push(Buffer.from(piece));
      } catch (error) {
        expect(error).toBeInstanceOf(RpcError);
      }
    }),
    propertyRuns(100_000),
  );
});
