// Which packets on which devices are taken for the test packets of a trace.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../../../test/support/fuzz.ts";
import { addressToBytes, parseAddress } from "../../../ip/address.ts";
import { sizesAround, type TestPackets, wirePoints } from "./wire.ts";

const token = Uint8Array.from({ length: 16 }, (_, at) => 200 - at);
const outside = parseAddress("192.168.50.12");
const test: TestPackets = { family: 4, token, tokenOffset: 4, packetBytes: 400, outside };
const nameOf = (index: number) => ["", "cni0", "flannel.1", "eth0"][index] ?? "?";

/** An IPv4 packet of `protocol` with `content`. */
function ip(source: string, destination: string, protocol: number, content: readonly number[]): number[] {
  const header = new Array<number>(20).fill(0);
  header[0] = 0x45;
  header[9] = protocol;
  header.splice(12, 8, ...addressToBytes(parseAddress(source)), ...addressToBytes(parseAddress(destination)));
  return [...header, ...content];
}

function echo(type: number, number: number, [source, destination] = ["10.5.1.1", "10.5.2.2"]): number[] {
  return ip(source ?? "", destination ?? "", 1, [type, 0, 0, 0, 0, 7, 0, 9, 1, 2, 3, 4, ...token, number]);
}

function vxlan(content: readonly number[]): number[] {
  return ip("192.168.50.11", outside, 17, [
    0xc8,
    0,
    0x21,
    0x18,
    0,
    0,
    0,
    0,
    ...new Array<number>(22).fill(0),
    ...content,
  ]);
}

const seenOn = (deviceIndex: number, isOutgoing: boolean, content: readonly number[], packetBytes = 400) => ({
  ...{ deviceIndex, isOutgoing, packetBytes },
  bytes: Uint8Array.from(content),
});

describe("points", () => {
  it("tells plain packets from those in a tunnel, requests from replies, and counts each packet once", () => {
    const points = wirePoints(
      [
        ...[0, 1, 1].map((number) => seenOn(2, true, echo(8, number))),
        seenOn(3, true, vxlan(echo(8, 0)), 450),
        seenOn(2, false, echo(0, 0)),
        // A stranger, and an error that quotes a request.
        seenOn(3, false, ip(outside, "192.168.50.11", 6, [1, 2, 3]), 400),
        seenOn(3, false, ip(outside, "10.5.1.1", 1, [3, 1, 0, 0, 0, 0, 0, 0, ...echo(8, 0)]), 428),
      ],
      test,
      nameOf,
    );
    expect(points).toEqual([
      { device: "flannel.1", direction: "out", packet: "request", form: "plain", packetBytes: 400, seen: 2 },
      {
        ...{ device: "eth0", direction: "out", packet: "request", form: "inside", packetBytes: 450, seen: 1 },
        around: "UDP 51200 > 8472",
      },
      { device: "flannel.1", direction: "in", packet: "reply", form: "plain", packetBytes: 400, seen: 1 },
    ]);
  });

  it("takes packets between the hosts for encrypted ones, whatever they hold", () => {
    const esp = seenOn(3, true, ip("192.168.50.11", outside, 50, [1, 2, 3, 4]), 440);
    expect(wirePoints([esp], test, nameOf)).toEqual([
      {
        ...{ device: "eth0", direction: "out", packet: "request", form: "encrypted", packetBytes: 440, seen: 1 },
        around: "ESP",
      },
    ]);
  });

  it("makes nothing of what is no packet", () => {
    const anything = fc.array(
      fc.record({
        deviceIndex: fc.nat(9),
        isOutgoing: fc.boolean(),
        packetBytes: fc.nat(2_000),
        bytes: fc.uint8Array({ maxLength: 80 }).filter((bytes) => ![4, 6].includes((bytes[0] ?? 0) >> 4)),
      }),
    );
    fc.assert(
      fc.property(anything, (packets) => {
        expect(wirePoints(packets, test, nameOf)).toEqual([]);
      }),
      propertyRuns(10_000),
    );
  });
});

it("knows how large the packets around are", () => {
  // IPv4 and IPv6 underlay: docs/architecture.md has the overheads.
  expect(sizesAround(400, "vxlan")).toEqual([450, 470]);
  expect(sizesAround(400, "udp")).toEqual([428, 448]);
  expect(sizesAround(400, "ipip")).toEqual([420, 440]);
  expect(sizesAround(400, "wireguard")).toEqual([460, 480]);
  expect(sizesAround(400, "direct")).toEqual([]);
});
