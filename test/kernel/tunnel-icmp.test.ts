// What senders are told when a packet cannot be delivered: in form and content as a router's, seldom, and never when the
// standards forbid it (RFC 792, 1122, 1812, 4443). Real device, real sockets, the kernel carries the answers.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { checksumOf, makePacket, type PacketOptions } from "../support/packets.ts";
import { inner, TunnelFixture } from "../support/tunnel-fixture.ts";

let fixture: TunnelFixture;
beforeAll(async () => {
  fixture = await TunnelFixture.open();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const sent = () => fixture.tunnel.status().carried.icmpErrorsSent;
/** Packets there is something to say about. */
const undelivered = () => {
  const { noRoute, ttlExpired } = fixture.tunnel.status().dropped;
  return noRoute + ttlExpired;
};
const untilUndelivered = (packets: number) =>
  until(() => undelivered() >= packets, { what: `${packets} packets not to be delivered`, intervalMs: 1 });
const payload = Uint8Array.from({ length: 32 }, (_, index) => index + 1);

/** A packet to nobody, changed in place by `change`; checksums follow. */
function toNobody(
  change: (bytes: Uint8Array) => void = () => undefined,
  more: Partial<PacketOptions> = {},
): Uint8Array {
  const packet = makePacket({ source: inner.ours, destination: inner.nobodys, protocol: 17, payload, ...more });
  change(packet);
  return withHeaderChecksum(packet);
}

function toNobody6(change: (bytes: Uint8Array) => void = () => undefined): Uint8Array {
  const packet = makePacket({ source: inner.ours6, destination: inner.nobodys6, protocol: 17, payload });
  change(packet);
  return packet;
}

function withHeaderChecksum(packet: Uint8Array): Uint8Array {
  const headerBytes = ((packet[0] ?? 0) & 15) * 4;
  packet.set([0, 0], 10);
  const checksum = checksumOf(packet.subarray(0, headerBytes));
  packet.set([checksum >> 8, checksum & 255], 10);
  return packet;
}

/** Protocol ICMP, the first byte of the message its type. */
const icmp = (type: number) => (packet: Uint8Array) => {
  packet[9] = 1;
  packet[20] = type;
};
const icmp6 = (type: number) => (packet: Uint8Array) => {
  packet[6] = 58;
  packet[40] = type;
};
/** Flags and offset of the fragment. */
const fragment = (word: number) => (packet: Uint8Array) => packet.set([word >> 8, word & 255], 6);
/** A fragment header with this offset word in front of something of that protocol. */
const fragment6 = (word: number, protocol: number, first: number) => (packet: Uint8Array) => {
  packet[6] = 44;
  packet.set([protocol, 0, word >> 8, word & 255, 0, 0, 0, 1, first], 40);
};
const from =
  (...source: readonly number[]) =>
  (packet: Uint8Array) =>
    packet.set(source, 12);

async function nextIcmp(family: 4 | 6): Promise<Uint8Array> {
  return await until(() => fixture.icmpReceived(family), { what: "an ICMP message" });
}

/** Whether the packet, which must be one that is not delivered, is answered. */
async function isAnswered(family: 4 | 6, send: () => void): Promise<boolean> {
  await refill();
  const before = undelivered();
  const sentBefore = sent();
  send();
  await untilUndelivered(before + 1);
  const answered = sent() - sentBefore;
  expect([0, 1]).toContain(answered);
  while (fixture.icmpReceived(family) !== undefined || fixture.atPeer(family) !== undefined);
  return answered === 1;
}

/** Answers are limited to 100 a second: waits until there is one to be had. */
async function refill(): Promise<void> {
  await until(
    () => {
      const before = sent();
      fixture.sendInside(toNobody());
      return until(() => sent() > before, { what: "an answer", timeoutMs: 100, intervalMs: 5 });
    },
    { what: "answers to be possible again" },
  );
  await until(() => fixture.icmpReceived(4) === undefined, { what: "the queue to be empty" });
}

describe("form", () => {
  test("IPv4: Net Unreachable from our own address, with as much of the packet as fits into 576 bytes", async () => {
    for (const size of [32, 1_000]) {
      const offender = toNobody(undefined, { payload: new Uint8Array(size).fill(7) });
      fixture.sendInside(offender);
      const answer = await nextIcmp(4);
      expect([...answer.subarray(12, 20)]).toEqual([10, 5, 1, 0, ...inner.ours]);
      expect([answer[1], answer[8], answer[20], answer[21]]).toEqual([0xc0, 64, 3, 0]);
      expect(answer.length).toBe(Math.min(576, 28 + offender.length));
      expect([checksumOf(answer.subarray(0, 20)), checksumOf(answer.subarray(20))]).toEqual([0, 0]);
      expect(answer.subarray(28)).toEqual(offender.subarray(0, answer.length - 28));
    }
  });

  test("IPv6: No Route, with as much of the packet as fits into 1,280 bytes", async () => {
    for (const size of [32, 1_300]) {
      const destination = inner.nobodys6;
      const large = makePacket({ source: inner.ours6, destination, protocol: 17, payload: new Uint8Array(size) });
      fixture.sendInside(large);
      const answer = await nextIcmp(6);
      expect([answer[0], answer[1], ...answer.subarray(4, 8)]).toEqual([1, 0, 0, 0, 0, 0]);
      expect(answer.length).toBe(Math.min(1_240, 8 + large.length));
      expect(answer.subarray(8)).toEqual(large.subarray(0, answer.length - 8));
      const source = [0xfd, 0, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
      const pseudo = [...source, ...inner.ours6, 0, 0, answer.length >> 8, answer.length & 255, 0, 0, 0, 58];
      expect(checksumOf(Uint8Array.from([...pseudo, ...answer]))).toBe(0);
    }
  });

  test("Time Exceeded at both ends", async () => {
    fixture.sendInside(makePacket({ source: inner.ours, destination: inner.theirs, protocol: 6, payload, ttl: 1 }));
    expect((await nextIcmp(4)).subarray(20, 22)).toEqual(Uint8Array.of(11, 0));
    fixture.sendInside(makePacket({ source: inner.ours6, destination: inner.theirs6, protocol: 6, payload, ttl: 1 }));
    expect((await nextIcmp(6)).subarray(0, 2)).toEqual(Uint8Array.of(3, 0));
    // From the peer: the answer goes back through the tunnel.
    fixture.sendOutside(makePacket({ source: inner.theirs, destination: inner.ours, protocol: 6, payload, ttl: 1 }));
    const back = await until(() => fixture.atPeer(4), { what: "the answer at the peer" });
    expect([...back.subarray(12, 22)]).toEqual([10, 5, 1, 0, ...inner.theirs, 11, 0]);
    const late = makePacket({ source: inner.theirs6, destination: inner.ours6, protocol: 6, payload, ttl: 1 });
    fixture.sendOutside(late, 6);
    const back6 = await until(() => fixture.atPeer(6), { what: "the answer at the peer" });
    expect([back6[6], back6[40], back6[41]]).toEqual([58, 3, 0]);
  });
});

describe("about what", () => {
  const broadcast = [10, 5, 1, 255];
  test.each<readonly [string, boolean, () => Uint8Array]>([
    ["UDP", true, () => toNobody()],
    ["TCP", true, () => toNobody(undefined, { protocol: 6 })],
    ["an echo request", true, () => toNobody(icmp(8))],
    ["an echo reply", true, () => toNobody(icmp(0))],
    ["Unreachable", false, () => toNobody(icmp(3))],
    ["Source Quench", false, () => toNobody(icmp(4))],
    ["Redirect", false, () => toNobody(icmp(5))],
    ["Time Exceeded", false, () => toNobody(icmp(11))],
    ["Parameter Problem", false, () => toNobody(icmp(12))],
    ["a first fragment", true, () => toNobody(fragment(0x2000))],
    ["a middle fragment", false, () => toNobody(fragment(0x2010))],
    ["a last fragment", false, () => toNobody(fragment(0x0010))],
    ["a packet from loopback", false, () => toNobody(from(127, 0, 0, 1))],
    ["a packet from a multicast address", false, () => toNobody(from(224, 0, 0, 5))],
    ["a packet from everybody", false, () => toNobody(from(255, 255, 255, 255))],
  ])("IPv4, no route: %s: %s", async (_, expected, packet) => {
    expect(await isAnswered(4, () => fixture.sendInside(packet()))).toBe(expected);
  });

  test.each<readonly [string, boolean, () => Uint8Array]>([
    ["UDP", true, () => toNobody6()],
    ["an echo request", true, () => toNobody6(icmp6(128))],
    ["Unreachable", false, () => toNobody6(icmp6(1))],
    ["Packet Too Big", false, () => toNobody6(icmp6(2))],
    ["an error of a type to come", false, () => toNobody6(icmp6(100))],
    ["Redirect", false, () => toNobody6(icmp6(137))],
    ["a first fragment of UDP", true, () => toNobody6(fragment6(0x0001, 17, 0))],
    ["a first fragment of Time Exceeded", false, () => toNobody6(fragment6(0x0001, 58, 3))],
    ["a later fragment", false, () => toNobody6(fragment6(0x0010, 17, 0))],
    ["a packet from nobody", false, () => toNobody6((packet) => packet.fill(0, 8, 24))],
  ])("IPv6, no route: %s: %s", async (_, expected, packet) => {
    expect(await isAnswered(6, () => fixture.sendInside(packet()))).toBe(expected);
  });

  test.each<readonly [string, boolean, Partial<PacketOptions>, (packet: Uint8Array) => void]>([
    ["UDP", true, {}, () => undefined],
    ["one to all hosts of our subnet", false, { destination: broadcast }, () => undefined],
    ["Time Exceeded", false, {}, icmp(11)],
    ["a later fragment", false, {}, fragment(0x0010)],
  ])("IPv4, at its end when received: %s: %s", async (_, expected, more, change) => {
    const options = { source: inner.theirs, destination: inner.ours, protocol: 17, payload, ttl: 1 } as const;
    const packet = makePacket({ ...options, ...more });
    change(packet);
    expect(await isAnswered(4, () => fixture.sendOutside(withHeaderChecksum(packet)))).toBe(expected);
  });

  test("a multicast packet at its end, when nobody asks who sends it: never", async () => {
    await fixture.setState({ checkSource: false });
    const packet = (destination: readonly number[]) =>
      makePacket({ source: inner.theirs, destination, protocol: 17, payload, ttl: 1 });
    expect(await isAnswered(4, () => fixture.sendOutside(packet([224, 0, 0, 9])))).toBe(false);
    expect(await isAnswered(4, () => fixture.sendOutside(packet([255, 255, 255, 255])))).toBe(false);
    expect(await isAnswered(4, () => fixture.sendOutside(packet(inner.ours), 4, "stranger"))).toBe(true);
    await fixture.setState();
  });
});

test("no more than 100 a second, whatever comes", async () => {
  await refill();
  const before = { sent: sent(), undelivered: undelivered(), atMs: performance.now() };
  for (let count = 0; count < 2_000; count++) {
    fixture.sendInside(toNobody());
    // The device's queue is short.
    if (count % 100 === 99) await untilUndelivered(before.undelivered + count + 1);
  }
  const seconds = (performance.now() - before.atMs) / 1_000;
  expect(sent() - before.sent).toBeGreaterThan(20);
  expect(sent() - before.sent).toBeLessThanOrEqual(101 + seconds * 100);
  expect(undelivered() - before.undelivered).toBe(2_000);
});
