// Echoes read from packets of any shape, against packets made here; and where a loss is said to be.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import type { Address } from "../ip/address.ts";
import { type EchoStation, type FollowedEcho, isLinkQuestion, lossOf, sightOf } from "./followed-echo.ts";

const target = "10.5.7.0" as Address;

function echo(kind: "request" | "reply", sequence: number, bytes: number): Buffer {
  const packet = Buffer.alloc(bytes);
  packet[0] = 0x45;
  packet.writeUInt16BE(bytes, 2);
  packet[9] = 1;
  Buffer.from([10, 5, 2, 9]).copy(packet, kind === "request" ? 12 : 16);
  Buffer.from([10, 5, 7, 0]).copy(packet, kind === "request" ? 16 : 12);
  packet[20] = kind === "request" ? 8 : 0;
  packet.writeUInt16BE(sequence, 26);
  return packet;
}

describe("sightOf", () => {
  const sized = fc.record({
    kind: fc.constantFrom("request" as const, "reply" as const),
    sequence: fc.nat(0xffff),
    bytes: fc.integer({ min: 28, max: 400 }),
  });

  it("finds an echo plain and inside of others", () => {
    fc.assert(
      fc.property(sized, fc.constantFrom(0, 20, 28, 50, 70), ({ kind, sequence, bytes }, around) => {
        // What is around holds no address of the test.
        const packet = Buffer.concat([Buffer.alloc(around, 0x45), echo(kind, sequence, bytes)]);
        expect(sightOf(packet, target, bytes)).toEqual({ packet: kind, sequence, isInside: around > 0 });
        expect(sightOf(packet, target, bytes + 4)).toBeUndefined();
        expect(sightOf(packet, "10.5.8.0" as Address, bytes)).toBeUndefined();
      }),
      propertyRuns(10_000),
    );
  });

  it("takes any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom("10.5.7.0", "fd00::1"), (bytes, address) => {
        const seen = sightOf(bytes, address as Address, bytes.length);
        expect(seen === undefined || seen.sequence <= 0xffff).toBe(true);
      }),
      propertyRuns(10_000),
    );
  });
});

describe("isLinkQuestion", () => {
  // As tcpdump shows them: who has 192.168.50.12, tell 192.168.50.11; who has fd00::12, to ff02::1:ff00:12.
  const arp = "0001080006040001025e00000001c0a8320b000000000000c0a8320c";
  const solicitation = [
    "6000000000203afffd000000000000000000000000000011ff0200000000000000000001ff000012",
    "8700aabb00000000fd0000000000000000000000000000120101025e00000001",
  ].join("");

  it.each([
    ["ARP", arp, true],
    ["an answer of ARP", arp.replace("06040001", "06040002"), false],
    ["a neighbour solicitation", solicitation, true],
    ["a neighbour advertisement", solicitation.replace("8700", "8800"), false],
    ["UDP of that size", solicitation.replace("203aff", "2011ff"), false],
    ["nothing", "", false],
  ])("%s", (_, text, expected) => {
    const bytes = Buffer.from(text, "hex");
    expect(isLinkQuestion(bytes, bytes.length)).toBe(expected);
    expect(isLinkQuestion(bytes, bytes.length + 4)).toBe(false);
  });
});

describe("lossOf", () => {
  const way = (...seen: readonly number[]): readonly EchoStation[] =>
    (
      [
        ["port", "request", "in"],
        ["bridge", "request", "in"],
        ["tunnel", "request", "out"],
        ["outside", "request", "out"],
        ["outside", "reply", "in"],
        ["tunnel", "reply", "in"],
        ["bridge", "reply", "out"],
        ["port", "reply", "out"],
      ] as const
    ).map(([place, packet, direction], at) => ({ place, packet, direction, seen: seen[at] ?? 0 }));
  const followed = (stations: readonly EchoStation[], answered = 0): FollowedEcho => ({
    ...{ sender: "container", target, linkQuestions: 0, sent: 3, answered, stations, grown: [] },
  });

  it.each([
    ["in the bridge", way(3), "port", "bridge"],
    ["before the tunnel", way(3, 3), "bridge", "tunnel"],
    ["at the device", way(3, 3, 2), "tunnel", "outside"],
    ["before the tunnel, on the way back", way(3, 3, 3, 3, 3), "outside", "tunnel"],
    ["before the bridge, on the way back", way(3, 3, 3, 3, 3, 3), "tunnel", "bridge"],
    ["in the bridge, on the way back", way(3, 3, 3, 3, 3, 3, 1), "bridge", "port"],
  ])("%s", (_, stations, before, after) => {
    const lost = lossOf(followed(stations));
    expect([lost?.before?.place, lost?.after.place]).toEqual([before, after]);
  });

  it("says nothing of other hosts, of what a container does, and where answers come", () => {
    expect(lossOf(followed(way(3, 3, 3, 3)))).toBeUndefined();
    expect(lossOf(followed(way()))).toBeUndefined();
    expect(lossOf(followed(way(3, 3, 3, 3, 3, 3, 3, 3)))).toBeUndefined();
    expect(lossOf(followed(way(3, 3), 1))).toBeUndefined();
    expect(lossOf({ ...followed(way(3, 3)), sent: 0 })).toBeUndefined();
  });
});
