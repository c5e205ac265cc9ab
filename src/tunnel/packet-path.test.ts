// The packet path without a kernel: super-packets cut and joined again, against packets made and checked by other code;
// the checksum against the book.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { checksumOf, faultOf, makePacket, reshaped } from "../../test/support/packets.ts";
import { IOVEC_BYTES } from "../sys/message-header.ts";
import { Arena, VNET_HEADER_BYTES } from "./arena.ts";
import { fold } from "./checksum.ts";
import { Coalescer } from "./coalescer.ts";
import type { DatagramSink } from "./message-batch.ts";
import { decrementTtl4, isBareTcp } from "./packet.ts";
import { Segmenter } from "./segmenter.ts";

const v4 = { source: [10, 5, 1, 2], destination: [10, 5, 2, 2] };
const v6 = {
  source: [0xfd, 0, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
  destination: [0xfd, 0, 0, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
};
const arena = new Arena();

/** The bytes that `count` iovecs at `at` stand for. */
function gather(at: number, count: number): Uint8Array {
  const parts = Array.from({ length: count }, (_, index) => {
    const iovec = at + index * IOVEC_BYTES;
    const offset = Number(arena.view.getBigUint64(iovec, true)) - arena.base;
    return arena.u8.slice(offset, offset + arena.view.getUint32(iovec + 8, true));
  });
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Collects in place of the socket what the segmenter makes. */
class CollectingBatch implements Pick<DatagramSink, "takeHeader" | "add"> {
  readonly packets: Uint8Array[] = [];
  takeHeader(): number {
    return arena.txHeaders;
  }
  add(_peer: number, _isV6: boolean, offset: number, bytes: number, rest: number, restBytes: number): void {
    this.packets.push(
      Uint8Array.from([...arena.u8.slice(offset, offset + bytes), ...arena.u8.slice(rest, rest + restBytes)]),
    );
  }
}

function segment(packet: Uint8Array, segmentBytes: number): Uint8Array[] {
  const ip = arena.txPackets;
  arena.u8.set(packet, ip);
  const isV6 = (packet[0] ?? 0) >> 4 === 6;
  const segmenter = new Segmenter(arena);
  const hasTcp = packet[isV6 ? 6 : 9] === 6;
  expect(segmenter.open(ip, packet.length, isV6, ip + (isV6 ? 40 : 20), hasTcp, segmentBytes)).toBe(true);
  const batch = new CollectingBatch();
  segmenter.emit(batch, 0);
  return batch.packets;
}

/** What the TUN device gets for these packets, received one after the other at places of any alignment. */
function coalesce(packets: readonly Uint8Array[], shift = 0): { header: Uint8Array; packet: Uint8Array }[] {
  const written: { header: Uint8Array; packet: Uint8Array }[] = [];
  const coalescer = new Coalescer(arena, { tcp: true, udp: true }, (iovecs, count) => {
    const all = gather(iovecs, count);
    written.push({ header: all.slice(0, VNET_HEADER_BYTES), packet: all.slice(VNET_HEADER_BYTES) });
  });
  let at = arena.rxSlots + shift;
  for (const packet of packets) {
    arena.u8.set(packet, at);
    const isV6 = (packet[0] ?? 0) >> 4 === 6;
    coalescer.take(at, isV6 ? 40 : ((packet[0] ?? 0) & 15) * 4, packet.length, isV6);
    at += packet.length;
  }
  coalescer.flush();
  return written;
}

/** Behind the headers of an IPv4 packet with TCP, which has no options, or UDP. */
function payloadAt(packet: Uint8Array): number {
  return ((packet[0] ?? 0) & 15) * 4 + (packet[9] === 6 ? 20 : 8);
}

/** Without IPv4's identification, and without the checksum that it is part of. */
function withoutId(packet: Uint8Array): Uint8Array {
  if ((packet[0] ?? 0) >> 4 === 6) return packet;
  const copy = packet.slice();
  copy.set([0, 0], 4);
  copy.set([0, 0], 10);
  return copy;
}

const payload = fc.uint8Array({ minLength: 1, maxLength: 9_000 });
const shape = fc.record({
  addresses: fc.constantFrom(v4, v6),
  protocol: fc.constantFrom(6 as const, 17 as const),
  payload,
  segmentBytes: fc.integer({ min: 1, max: 1_500 }),
  sequence: fc.nat(0xffff_ffff),
  id: fc.nat(0xffff),
  tcpOptionBytes: fc.constantFrom(0, 12, 40),
  push: fc.boolean(),
});

describe("segmenter and coalescer", () => {
  it("cut into valid packets, and join to the same bytes", () => {
    fc.assert(
      fc.property(shape, fc.nat(3), ({ addresses, segmentBytes, push, ...rest }, shift) => {
        const whole = makePacket({ ...addresses, ...rest, flags: push ? 0x18 : 0x10 });
        const headerBytes = whole.length - rest.payload.length;
        const size = Math.max(segmentBytes, Math.ceil(rest.payload.length / 60));
        const pieces = segment(whole, size);
        expect(pieces).toHaveLength(Math.ceil(rest.payload.length / size));
        for (const piece of pieces) expect(faultOf(piece)).toBeUndefined();
        const carried = pieces.flatMap((piece) => [...piece.subarray(headerBytes)]);
        expect(Uint8Array.from(carried)).toEqual(rest.payload);
        const [joined, ...others] = coalesce(pieces, shift);
        expect(others).toEqual([]);
        if (joined === undefined) throw new Error("nothing was written");
        expect(joined.packet.subarray(headerBytes)).toEqual(rest.payload);
        if (pieces.length === 1) return;
        expect(new DataView(joined.header.buffer).getUint16(4, true)).toBe(size);
        // Cut again, as the kernel would, the packets are those that came.
        expect(segment(joined.packet, size)).toEqual(pieces);
      }),
      propertyRuns(1_000),
    );
  });

  it("set flags, numbers and DSCP of the pieces as the one who cuts has to", () => {
    const [fin, psh, ack, ece, cwr] = [0x01, 0x08, 0x10, 0x40, 0x80];
    const flags = fin | psh | ack | ece | cwr;
    const options = {
      protocol: 6,
      payload: new Uint8Array(3_000),
      sequence: 0xffff_ff00,
      id: 0xfffe,
      tos: 0xb9,
    } as const;
    for (const addresses of [v4, v6]) {
      const pieces = segment(makePacket({ ...addresses, ...options, flags }), 1_000);
      const tcp = addresses === v6 ? 40 : 20;
      const views = pieces.map((piece) => new DataView(piece.buffer, piece.byteOffset));
      expect(pieces.map(faultOf)).toEqual([undefined, undefined, undefined]);
      expect(pieces.map((piece) => piece[tcp + 13])).toEqual([ack | ece | cwr, ack | ece, fin | psh | ack | ece]);
      expect(views.map((view) => view.getUint32(tcp + 4))).toEqual([0xffff_ff00, 0x2e8, 0x6d0]);
      if (addresses === v6) expect(views.map((view) => (view.getUint16(0) >> 4) & 0xff)).toEqual([0xb9, 0xb9, 0xb9]);
      else
        expect(views.map((view) => [view.getUint16(4), view.getUint8(1)])).toEqual(
          [0xfffe, 0xffff, 0].map((id) => [id, 0xb9]),
        );
    }
  });

  it("join nothing that could not be cut into the very same packets again", () => {
    const seldom = (usual: number, ...others: readonly number[]) =>
      fc.oneof({ weight: 12, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) });
    const step = fc.record({
      size: seldom(500, 0, 1, 400, 1_000),
      flags: seldom(0x10, 0x18, 0x11, 0x50, 0x90, 0x30),
      tos: seldom(0, 2, 3),
      ttl: seldom(64, 63),
      acknowledgement: seldom(77, 78),
      window: seldom(500, 501),
      reserved: seldom(0, 1),
      tcpOptionBytes: seldom(0, 12),
      jump: seldom(0, 1, -500),
    });
    const lists = fc.tuple(
      fc.constantFrom(v4, v6),
      fc.constantFrom(6 as const, 17 as const),
      fc.array(step, { maxLength: 40 }),
    );
    const joinedCount = { packets: 0, writes: 0 };
    fc.assert(
      fc.property(lists, ([addresses, protocol, steps]) => {
        let sequence = 5_000;
        const made = steps.map(({ size, jump, ...rest }, index) => {
          const payload = new Uint8Array(size).fill(index + 1);
          sequence += jump;
          const packet = makePacket({ ...addresses, protocol, payload, sequence, ...rest });
          sequence += size;
          return packet;
        });
        const written = coalesce(made);
        joinedCount.packets += made.length;
        joinedCount.writes += written.length;
        const cut = written.flatMap(({ header, packet }) => {
          const view = new DataView(header.buffer, header.byteOffset);
          return view.getUint8(1) === 0 ? [packet] : segment(packet, view.getUint16(4, true));
        });
        // The number of a packet that is not to be fragmented means nothing, and is in no other checksum.
        expect(cut.map(withoutId)).toEqual(made.map(withoutId));
      }),
      propertyRuns(10_000),
    );
    // Otherwise nothing was joined, and nothing shown. How much is joined depends on the packets that were drawn.
    expect(joinedCount.writes).toBeLessThan(joinedCount.packets);
  });

  it("keep the order within a flow and lose nothing, whatever comes between", () => {
    const packets = fc.array(
      fc.record({
        source: fc.constantFrom(v4.source, [10, 5, 1, 3]),
        protocol: fc.constantFrom(6 as const, 17 as const),
        size: fc.constantFrom(1, 100, 1_400),
        flags: fc.constantFrom(0x10, 0x18, 0x11, 0x12),
        jump: fc.boolean(),
        isBroken: fc.boolean(),
        shape: fc.constantFrom(
          "plain" as const,
          "plain" as const,
          "with IP options" as const,
          "first fragment" as const,
        ),
      }),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(packets, (list) => {
        const sequences = new Map<string, number>();
        const sent = new Map<string, number[]>();
        const made = list.map(({ source, protocol, size, flags, jump, isBroken, shape }, index) => {
          const flow = `${source.join(".")} ${protocol}`;
          const sequence = (sequences.get(flow) ?? 1_000) + (jump ? 7 : 0);
          sequences.set(flow, sequence + size);
          const bytes = new Uint8Array(size).fill(index + 1);
          sent.set(flow, [...(sent.get(flow) ?? []), ...bytes]);
          const packet = makePacket({ source, destination: v4.destination, protocol, payload: bytes, sequence, flags });
          const checksum = packet.length - size - (protocol === 6 ? 3 : 1);
          if (isBroken) packet[checksum] = (packet[checksum] ?? 0) ^ 0x55;
          return shape === "plain" ? packet : reshaped(packet, shape);
        });
        const received = new Map<string, number[]>();
        for (const { packet } of coalesce(made)) {
          const flow = `${packet.subarray(12, 16).join(".")} ${packet[9]}`;
          received.set(flow, [...(received.get(flow) ?? []), ...packet.subarray(payloadAt(packet))]);
        }
        expect(received).toEqual(sent);
      }),
      propertyRuns(500),
    );
  });
});

it("what is behind an IPv6 extension header does not overtake what came before", () => {
  const packets = [1, 2, 3].map((byte) =>
    makePacket({ ...v6, protocol: 17, payload: new Uint8Array(byte === 3 ? 900 : 100).fill(byte) }),
  );
  const [, , fragment] = packets;
  if (fragment === undefined) throw new Error("no packet");
  fragment[6] = 44; // the fragment header, as far as anyone looks
  const written = coalesce(packets).map(({ packet }) => packet.at(-1));
  expect(written).toEqual([2, 3]);
});

it("the sum agrees with RFC 1071 for every length and alignment", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5_000 }), fc.nat(63), (bytes, shift) => {
      arena.u8.set(bytes, arena.rxSlots + shift);
      const sum = fold(arena.sumOf(arena.rxSlots + shift, bytes.length));
      expect(~(((sum & 0xff) << 8) | (sum >>> 8)) & 0xffff).toBe(checksumOf(bytes));
    }),
    propertyRuns(2_000),
  );
});

it("takes a hop and leaves the checksum as if worked out again, for every checksum there is", () => {
  const packet = makePacket({ ...v4, protocol: 17, payload: new Uint8Array(8) });
  const ip = arena.rxSlots + 1; // nothing is said about where it lies
  const recomputed = packet.slice(0, 20);
  const wrong: number[] = [];
  for (let id = 0; id <= 0xffff; id++) {
    packet.set([id >> 8, id & 0xff], 4);
    packet.set([0, 0], 10);
    const before = checksumOf(packet.subarray(0, 20));
    packet.set([before >> 8, before & 0xff], 10);
    arena.u8.set(packet, ip);
    decrementTtl4(arena, ip);
    recomputed.set(packet.subarray(0, 20));
    recomputed[8] = 63;
    recomputed.set([0, 0], 10);
    if (arena.u8[ip + 8] !== 63 || arena.get16(ip + 10) !== checksumOf(recomputed)) wrong.push(before);
  }
  expect(wrong).toEqual([]);
});

it("tells acknowledgements from what carries something, with options of IP and TCP", () => {
  const small = fc.record({
    addresses: fc.constantFrom(v4, v6),
    protocol: fc.constantFrom(6 as const, 17 as const),
    payload: fc.uint8Array({ maxLength: 3 }),
    tcpOptionBytes: fc.constantFrom(0, 12, 40),
    hasIpOptions: fc.boolean(),
  });
  fc.assert(
    fc.property(small, fc.nat(3), ({ addresses, hasIpOptions, ...rest }, shift) => {
      const made = makePacket({ ...addresses, ...rest });
      const packet = hasIpOptions && addresses === v4 ? reshaped(made, "with IP options") : made;
      const ip = arena.txPackets + shift;
      arena.u8.fill(0xff, ip, ip + 200);
      arena.u8.set(packet, ip);
      const isBare = rest.protocol === 6 && rest.payload.length === 0;
      expect(isBareTcp(arena, ip, packet.length, addresses === v6)).toBe(isBare);
    }),
    propertyRuns(1_000),
  );
});
