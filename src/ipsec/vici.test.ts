// The protocol of charon's socket: bytes as strongSwan's description has them, whatever is written read back, damaged bytes
// refused, pieces of any size put together.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { hasCode } from "../errors.ts";
import {
  decodeMessage,
  encodeMessage,
  listOf,
  sectionsOf,
  textOf,
  type ViciFields,
  type ViciSection,
} from "./vici-message.ts";
import { encodeRegistration, encodeRequest, PacketReader } from "./vici-packet.ts";

const name = fc.string({ minLength: 1, maxLength: 40 }).filter((text) => text.isWellFormed());
const value = fc.string({ maxLength: 60, unit: "binary" });
const fields = fc.letrec<{ fields: ViciFields }>((tie) => ({
  fields: fc.dictionary(
    name.filter((text) => text !== "__proto__" && !/^\d+$/.test(text)),
    fc.oneof({ depthSize: "small", maxDepth: 5 }, value, fc.array(value, { maxLength: 4 }), tie("fields")),
    { maxKeys: 5, noNullPrototype: true },
  ) as fc.Arbitrary<ViciFields>,
})).fields;

function plain(section: ViciSection): unknown {
  return Object.fromEntries([...section].map(([key, each]) => [key, each instanceof Map ? plain(each) : each]));
}

/** What a peer that knows nothing of our reader would send: an answer or an event around these bytes. */
function packet(type: number, message: Uint8Array, event = ""): Buffer {
  const head = event === "" ? Buffer.from([type]) : Buffer.from([type, event.length, ...Buffer.from(event)]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length + message.length);
  return Buffer.concat([length, head, message]);
}

describe("a message", () => {
  it("has the bytes of strongSwan's example", () => {
    const message = encodeMessage({
      key1: "value1",
      section1: { "sub-section": { key2: "value2" }, list1: ["item1", "item2"] },
    });
    const text = (type: number, words: string) => [type, words.length, ...Buffer.from(words)];
    const long = (words: string) => [0, words.length, ...Buffer.from(words)];
    expect([...message]).toEqual([
      ...[...text(3, "key1"), ...long("value1")],
      ...text(1, "section1"),
      ...[...text(1, "sub-section"), ...text(3, "key2"), ...long("value2"), 2],
      ...[...text(4, "list1"), 5, ...long("item1"), 5, ...long("item2"), 6],
      2,
    ]);
  });

  it("is read as it was written", () => {
    fc.assert(
      fc.property(fields, (written) => {
        expect(plain(decodeMessage(encodeMessage(written)))).toEqual(JSON.parse(JSON.stringify(written)));
      }),
      propertyRuns(20_000),
    );
  });

  it("that is damaged is refused or read, and nothing else happens", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          expect(decodeMessage(bytes)).toBeInstanceOf(Map);
        } catch (error) {
          expect(hasCode(error, "KERNEL_REJECTED")).toBe(true);
        }
      }),
      propertyRuns(100_000),
    );
  });

  it("is refused when it is nested without end, and what is too long is not sent", () => {
    const deep = Uint8Array.from({ length: 300 }, (_, index) => [1, 1, 97][index % 3] ?? 0);
    expect(() => decodeMessage(deep)).toThrow(/more than 16 sections/);
    expect(() => encodeMessage({ secret: "s".repeat(70_000) })).toThrow(/^a value of 70000 bytes is too long/);
    expect(() => encodeMessage({ ["n".repeat(300)]: "" })).toThrow(RangeError);
  });

  it("has texts, lists and sections where they are, and nothing where they are not", () => {
    const message = decodeMessage(encodeMessage({ a: "1", b: ["2", "3"], c: { d: { e: "4" }, f: "5" } }));
    expect([textOf(message, "a"), textOf(message, "b"), listOf(message, "b"), listOf(message, "a")]).toEqual([
      ...["1", undefined],
      ["2", "3"],
      [],
    ]);
    expect(sectionsOf(message, "c").map(([key]) => key)).toEqual(["d"]);
    expect(sectionsOf(message).map(([key]) => key)).toEqual(["c"]);
  });
});

describe("packets", () => {
  it("have length, type and name before the message", () => {
    expect([...encodeRequest("version", {})]).toEqual([0, 0, 0, 9, 0, 7, ...Buffer.from("version")]);
    expect([...encodeRegistration("log")]).toEqual([0, 0, 0, 5, 3, 3, ...Buffer.from("log")]);
  });

  it("are put together from pieces of any size", () => {
    const messages = fc.array(fc.tuple(fields, fc.boolean()), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (sent, sizes) => {
        const stream = Buffer.concat(
          sent.map(([each, isEvent]) =>
            isEvent ? packet(7, encodeMessage(each), "list-sa") : packet(1, encodeMessage(each)),
          ),
        );
        const reader = new PacketReader();
        const got = [];
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const size = sizes[turn % sizes.length] ?? 1;
          got.push(...reader.push(stream.subarray(at, at + size)));
          at += size;
        }
        expect(got.map(({ type }) => type)).toEqual(sent.map(([, isEvent]) => (isEvent ? "event" : "response")));
        expect(got.map((answer) => ("message" in answer ? plain(answer.message) : undefined))).toEqual(
          sent.map(([each]) => JSON.parse(JSON.stringify(each))),
        );
      }),
      propertyRuns(10_000),
    );
  });

  it("that are longer than charon's are refused before they are waited for", () => {
    expect(() => new PacketReader().push(Uint8Array.of(0xff, 0, 0, 0))).toThrow(/a packet of 4278190080 bytes/);
    expect(() => new PacketReader().push(Uint8Array.of(0, 0, 0, 1, 99))).toThrow(/packet type 99/);
    expect(new PacketReader().push(Uint8Array.of(0, 0, 0, 1, 5, 0, 0, 0, 1, 2))).toEqual([
      { type: "confirmed" },
      { type: "unknownCommand" },
    ]);
  });
});
