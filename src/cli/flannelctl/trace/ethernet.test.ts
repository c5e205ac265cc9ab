// Frames of the stand-in for a container: what it sends is right by the checksums of others, and what is not for it is nothing.
import fc from "fast-check";
import { expect, it } from "vitest";
import { propertyRuns } from "../../../../test/support/fuzz.ts";
import { parseAddress } from "../../../ip/address.ts";
import { encodeArpReply, encodeEcho, type FrameEnds, readFrame } from "./ethernet.ts";

const own: FrameEnds = {
  ...{ ownMac: "02:00:00:00:00:01", ownAddress: parseAddress("10.5.1.253") },
  otherMac: "02:00:00:00:00:02",
};
const target = parseAddress("10.5.2.2");

/** RFC 1071: over all that a checksum covers, itself included, the sum of its words is all ones. */
function isSummedUp(bytes: Uint8Array): boolean {
  let sum = 0;
  for (let at = 0; at < bytes.length; at++) sum += at % 2 === 0 ? (bytes[at] ?? 0) * 256 : (bytes[at] ?? 0);
  return sum % 65_535 === 0;
}

it("an echo request has both checksums right and the size that was asked for", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 21, maxLength: 56 }),
      fc.nat(65_535),
      fc.integer({ min: 84, max: 1_500 }),
      (payload, sequence, packetBytes) => {
        const frame = encodeEcho(own, { target, sequence, payload, packetBytes });
        expect(frame.length).toBe(14 + packetBytes);
        expect(isSummedUp(frame.subarray(14, 34)) && isSummedUp(frame.subarray(34))).toBe(true);
      },
    ),
    propertyRuns(10_000),
  );
});

it("what comes back to its address is read, and a question for it is answered", () => {
  const back: FrameEnds = { ownMac: own.otherMac, ownAddress: target, otherMac: own.ownMac };
  const payload = Uint8Array.from({ length: 56 }, (_, at) => at);
  const frame = encodeEcho(back, { target: own.ownAddress, sequence: 7, payload, packetBytes: 84 });
  expect(readFrame(frame, own)).toMatchObject({ type: "icmp", message: { source: target, icmpType: 8, icmpCode: 0 } });
  expect(readFrame(frame, back)).toBeUndefined();
  const asked = encodeArpReply(back, { mac: Uint8Array.of(2, 0, 0, 0, 0, 1), address: Uint8Array.of(10, 5, 1, 253) });
  // As a question.
  asked[21] = 1;
  expect(readFrame(asked, own)).toEqual({
    ...{ type: "question", mac: Uint8Array.of(2, 0, 0, 0, 0, 2) },
    address: Uint8Array.of(10, 5, 2, 2),
  });
});

it("makes nothing of other bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      expect(readFrame(bytes, own)).toBeUndefined();
    }),
    propertyRuns(10_000),
  );
});
