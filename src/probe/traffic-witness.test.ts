// Which packets of one side of TCP say that the other side was heard.
import fc from "fast-check";
import { expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { TcpEar } from "./traffic-witness.ts";

const [ACK, SYN, RST] = [0x10, 0x02, 0x04];

function segment(flags: number, acknowledged: number, { port = 443, family = 4 } = {}): Uint8Array {
  const header = family === 4 ? 20 : 40;
  const bytes = new Uint8Array(header + 20);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, family === 4 ? 0x45 : 0x60);
  view.setUint8(family === 4 ? 9 : 6, 6);
  view.setUint16(header, port);
  view.setUint16(header + 2, 40_000);
  view.setUint32(header + 8, acknowledged);
  view.setUint8(header + 13, flags);
  return bytes;
}

it.each([4, 6])("an acknowledgement that grows, and the answer to a new connection (IPv%i)", (family) => {
  const ear = new TcpEar();
  expect(ear.hear(segment(ACK, 1_000, { family }))).toBe(false);
  expect(ear.hear(segment(ACK, 1_000, { family }))).toBe(false);
  expect(ear.hear(segment(ACK, 900, { family }))).toBe(false);
  expect(ear.hear(segment(ACK, 1_000, { family }))).toBe(false);
  expect(ear.hear(segment(ACK, 1_001, { family }))).toBe(true);
  expect(ear.hear(segment(ACK | SYN, 1, { family, port: 80 }))).toBe(true);
});

it("not what a peer that hears nobody repeats: requests for connections, data with the same acknowledgement, resets", () => {
  const ear = new TcpEar();
  for (let time = 0; time < 5; time++) {
    expect(ear.hear(segment(SYN, 0))).toBe(false);
    expect(ear.hear(segment(ACK, 5_000))).toBe(false);
    expect(ear.hear(segment(RST, 6_000))).toBe(false);
  }
});

it("over the wrap of sequence numbers, and apart for each connection", () => {
  const ear = new TcpEar();
  expect(ear.hear(segment(ACK, 0xffff_fff0))).toBe(false);
  expect(ear.hear(segment(ACK, 0xffff_fff5, { port: 80 }))).toBe(false);
  expect(ear.hear(segment(ACK, 16))).toBe(true);
});

it("makes nothing of other bytes", () => {
  const ear = new TcpEar();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 33 }), (bytes) => {
      expect(ear.hear(bytes)).toBe(false);
    }),
    propertyRuns(10_000),
  );
});
