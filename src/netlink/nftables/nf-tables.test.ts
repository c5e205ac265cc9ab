// Notifications of nf_tables: what a message is about, and that no bytes are an error.
import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { messagesIn } from "../message-frames.ts";
import { decodeNfTables } from "./nf-tables.ts";

function attribute(type: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((4 + payload.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 4 + payload.length, true);
  view.setUint16(2, type, true);
  bytes.set(payload, 4);
  return bytes;
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(`${value}\0`);
}

function number(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, false);
  return bytes;
}

function decode(message: number, family: number, ...attributes: readonly Uint8Array[]): unknown {
  const length = 20 + attributes.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length, true);
  view.setUint16(4, (10 << 8) | message, true);
  bytes[16] = family;
  let at = 20;
  for (const part of attributes) {
    bytes.set(part, at);
    at += part.length;
  }
  return [...messagesIn(view, length)].map((frame) => decodeNfTables(view, frame))[0];
}

test("a rule names its table and chain, a chain itself, a table itself", () => {
  expect(decode(6, 2, attribute(1, text("filter")), attribute(2, text("FORWARD")), attribute(3, number(7)))).toEqual({
    ...{ kind: "rule", protocol: 2, family: 4, table: "filter", name: "FORWARD", isRemoval: false },
  });
  expect(decode(5, 10, attribute(1, text("nat")), attribute(2, number(1)), attribute(3, text("X")))).toEqual({
    ...{ kind: "chain", protocol: 10, family: 6, table: "nat", name: "X", isRemoval: true },
  });
  expect(decode(3, 1, attribute(1, text("t")), attribute(3, text("F")), attribute(4, number(1)))).toEqual({
    ...{ kind: "chain", protocol: 1, family: undefined, table: "t", name: "F", isRemoval: false, isBaseChain: true },
  });
  expect(decode(2, 1, attribute(1, text("firewalld")))).toEqual({
    ...{ kind: "table", protocol: 1, family: undefined, table: "firewalld", isRemoval: true },
  });
  expect(decode(12, 2, attribute(1, text("t")), attribute(2, text("nodes")))).toEqual({
    ...{ kind: "set", protocol: 2, family: 4, table: "t", name: "nodes", isRemoval: false },
  });
  expect(decode(18, 2, attribute(1, text("t")))).toBeUndefined();
});

test("a generation names its author", () => {
  const attributes = [attribute(1, number(4_000_000_000)), attribute(2, number(4711)), attribute(3, text("dockerd"))];
  expect(decode(15, 0, ...attributes)).toEqual({ id: 4_000_000_000, pid: 4711, program: "dockerd" });
});

test("no bytes are an error", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat(24), (payload, message) => {
      const bytes = new Uint8Array(16 + payload.length);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, bytes.length, true);
      view.setUint16(4, (10 << 8) | message, true);
      bytes.set(payload, 16);
      for (const frame of messagesIn(view, bytes.length)) decodeNfTables(view, frame);
    }),
    propertyRuns(100_000),
  );
});
