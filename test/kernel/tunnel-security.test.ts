// Whose packets are taken, and what each packet that is not taken is counted as; on both families, with the check and
// without. Real sockets on both sides.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { checksumOf, makePacket, type PacketOptions } from "../support/packets.ts";
import { inner, type Sender, TunnelFixture } from "../support/tunnel-fixture.ts";

let fixture: TunnelFixture;
beforeAll(async () => {
  fixture = await TunnelFixture.open();
});
afterAll(() => fixture[Symbol.asyncDispose]());

type Change = (packet: Uint8Array) => Uint8Array;

interface Case {
  readonly name: string;
  readonly from?: Sender;
  readonly more?: Partial<PacketOptions>;
  readonly change?: Change;
  /** `received`, or the reason. */
  readonly checked: string;
  /** When nobody asks who sends it. */
  readonly unchecked: string;
}

const ends = {
  4: { ours: inner.ours, theirs: inner.theirs, nobodys: inner.nobodys },
  6: { ours: inner.ours6, theirs: inner.theirs6, nobodys: inner.nobodys6 },
} as const;

function packetOf(family: 4 | 6, { more, change }: Case): Uint8Array {
  const { ours, theirs } = ends[family];
  const payload = new Uint8Array(40);
  const packet = makePacket({ source: theirs, destination: ours, protocol: 17, payload, ...more });
  return change?.(packet) ?? packet;
}

/** What can become of a datagram; the kernel's own packets, which come by the device, have other fates. */
function look(): Readonly<Record<string, number>> {
  const { carried, dropped } = fixture.tunnel.status();
  const { malformed, ttlExpired, unknownSender, foreignSource, foreignDestination, truncated } = dropped;
  const received = carried.receivedPackets;
  return { received, malformed, ttlExpired, unknownSender, foreignSource, foreignDestination, truncated };
}

async function fateOf(family: 4 | 6, packet: Uint8Array, from: Sender): Promise<string> {
  const before = look();
  fixture.sendOutside(packet, family, from);
  return await until(
    () => {
      const after = look();
      return (
        Object.keys(after)
          .filter((name) => after[name] !== before[name])
          .join(" and ") || undefined
      );
    },
    { what: "the datagram to be counted", intervalMs: 1 },
  );
}

/** Sets the bytes, and makes the IPv4 header's checksum right again. */
const set =
  (at: number, ...bytes: readonly number[]): Change =>
  (packet) => {
    packet.set(bytes, at);
    if ((packet[0] ?? 0) >> 4 !== 4) return packet;
    packet.set([0, 0], 10);
    const sum = checksumOf(packet.subarray(0, ((packet[0] ?? 0) & 15) * 4));
    packet.set([sum >> 8, sum & 255], 10);
    return packet;
  };

const who = (family: 4 | 6): readonly Case[] => {
  const { ours, nobodys } = ends[family];
  return [
    { name: "the peer's, for us", checked: "received", unchecked: "received" },
    { name: "from another port (NAT)", from: "peer, from another port", checked: "received", unchecked: "received" },
    { name: "from a host without a lease", from: "stranger", checked: "unknownSender", unchecked: "received" },
    { name: "with nobody's source", more: { source: nobodys }, checked: "foreignSource", unchecked: "received" },
    { name: "with our own source", more: { source: ours }, checked: "foreignSource", unchecked: "received" },
    { name: "not for us", more: { destination: nobodys }, checked: "foreignDestination", unchecked: "received" },
    { name: "at the end of its life", more: { ttl: 1 }, checked: "ttlExpired", unchecked: "ttlExpired" },
    { name: "after its end", more: { ttl: 0 }, checked: "ttlExpired", unchecked: "ttlExpired" },
  ];
};

const malformed = (name: string, change: Change): Case => ({
  name,
  change,
  checked: "malformed",
  unchecked: "malformed",
});

const broken: Readonly<Record<4 | 6, readonly Case[]>> = {
  4: [
    malformed("nothing at all", () => new Uint8Array(0)),
    malformed("one byte", () => Uint8Array.of(0x45)),
    malformed("a cut header", (packet) => packet.subarray(0, 19)),
    malformed("of no version", set(0, 0x05)),
    malformed("of version 6", set(0, 0x65)),
    malformed("with a header of 16 bytes", set(0, 0x44)),
    malformed("with a header longer than itself", (packet) => set(0, 0x4f)(packet.slice(0, 40))),
    malformed("with a length shorter than its header", set(2, 0, 19)),
    malformed("with a length of 0", set(2, 0, 0)),
    malformed("with a length longer than the datagram", set(2, 0xff, 0xff)),
    malformed("with a wrong checksum", (packet) => packet.with(10, (packet[10] ?? 0) ^ 1)),
  ],
  6: [
    malformed("nothing at all", () => new Uint8Array(0)),
    malformed("one byte", () => Uint8Array.of(0x60)),
    malformed("a cut header", (packet) => packet.subarray(0, 39)),
    malformed("of version 4", set(0, 0x45)),
    malformed("of version 15", set(0, 0xf0)),
    malformed("with a length longer than the datagram", set(4, 0xff, 0xff)),
  ],
};

describe.each([4, 6] as const)("IPv%d", (family) => {
  const cases = [...who(family), ...broken[family]];

  test.each(cases)("$name: $checked", async (each) => {
    expect(await fateOf(family, packetOf(family, each), each.from ?? "peer")).toBe(each.checked);
  });

  test("what follows a packet in its datagram is left out", async () => {
    const padded = Uint8Array.from([...packetOf(family, { name: "", checked: "", unchecked: "" }), 1, 2, 3]);
    expect(await fateOf(family, padded, "peer")).toBe("received");
  });

  describe("without the check", () => {
    beforeAll(() => fixture.setState({ checkSource: false }));
    afterAll(() => fixture.setState());

    test.each(cases)("$name: $unchecked", async (each) => {
      expect(await fateOf(family, packetOf(family, each), each.from ?? "peer")).toBe(each.unchecked);
    });
  });
});

test("a packet of one family does not come in by the other", async () => {
  const four = packetOf(4, { name: "", checked: "", unchecked: "" });
  const six = packetOf(6, { name: "", checked: "", unchecked: "" });
  expect(await fateOf(6, four, "peer")).toBe("malformed");
  expect(await fateOf(4, six, "peer")).toBe("malformed");
});
