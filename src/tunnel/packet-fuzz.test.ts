// Nothing that a stranger sends or a container writes makes the packet path crash, hang or lose count: random bytes, and
// valid packets with bits flipped, cut short or with lengths that lie. Millions of them, from a seed that is printed.
import { expect, it } from "vitest";
import { makePacket } from "../../test/support/packets.ts";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import { Arena, VNET_HEADER_BYTES } from "./arena.ts";
import { Coalescer } from "./coalescer.ts";
import { Counters } from "./counters.ts";
import { ForwardingTable } from "./forwarding-table.ts";
import { IcmpErrors } from "./icmp-errors.ts";
import { Inbound } from "./inbound.ts";
import { Outbound } from "./outbound.ts";
import { vnet } from "./packet.ts";
import { PathMtus } from "./path-mtus.ts";

const ROUNDS = 1_000_000;
const ours = { v4: [10, 5, 1, 2], v6: [0xfd, 0, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] };
const theirs = { v4: [10, 5, 2, 2], v6: [0xfd, 0, 0, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] };
const seed = Math.floor(Math.random() * 2 ** 31);
let state = seed;

/** xorshift32: fast, and the same from the same seed. */
function random(below: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % below;
}

const table = ForwardingTable.build(
  {
    device: "t",
    port: 8285,
    own: { subnet: parsePrefix("10.5.1.0/24"), ipv6Subnet: parsePrefix("fd00:5:1::/48") },
    peers: [
      {
        key: "a",
        subnet: parsePrefix("10.5.2.0/24"),
        publicIp: parseAddress("192.0.2.1"),
        ipv6Subnet: parsePrefix("fd00:5:2::/48"),
        publicIpv6: parseAddress("2001:db8::1"),
      },
    ],
    checkSource: true,
    offload: true,
  },
  () => 0,
);

function templates(from: typeof ours, to: typeof ours): readonly Uint8Array[] {
  return [from.v4, from.v6].flatMap((source, index) =>
    ([6, 17] as const).flatMap((protocol) =>
      [0, 1, 100, 1_400].map((size) =>
        makePacket({ source, destination: index === 0 ? to.v4 : to.v6, protocol, payload: new Uint8Array(size) }),
      ),
    ),
  );
}

/** Writes a packet at `at`: a template with some damage, or noise. Returns its length. */
function writeDamaged({ u8 }: Arena, at: number, packets: readonly Uint8Array[]): number {
  const packet = packets[random(packets.length)] ?? new Uint8Array();
  u8.set(packet, at);
  if (random(8) === 0) {
    const length = 1 + random(120);
    for (let index = 0; index < length; index++) u8[at + index] = random(256);
    if (random(2) === 0) u8[at] = random(2) === 0 ? 0x45 : 0x60;
    return length;
  }
  for (let flips = random(4); flips > 0; flips--) {
    const index = at + random(Math.min(packet.length, 60));
    u8[index] = (u8[index] ?? 0) ^ (1 << random(8));
  }
  return random(6) === 0 ? 1 + random(packet.length) : packet.length;
}

const sum = (values: Readonly<Record<string, number>>) => Object.values(values).reduce((a, b) => a + b, 0);
const noIcmp = { ipv4: -1, ipv6: -1, source4: undefined, source6: undefined };

it(`survives ${ROUNDS} damaged datagrams, seed ${seed}`, { timeout: 120_000 }, () => {
  const arena = new Arena();
  const counters = new Counters();
  let written = 0;
  const coalescer = new Coalescer(arena, { tcp: true, udp: true }, () => {
    written++;
  });
  const inbound = new Inbound(
    { arena, coalescer, counters, icmp: new IcmpErrors({ arena, counters, ...noIcmp }) },
    table,
  );
  const packets = templates(theirs, ours);
  const name = arena.rxNames;
  let offered = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const isV6 = random(2) === 0;
    arena.set32(name + 4, 0xc0000201);
    if (isV6) arena.u8.set([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], name + 8);
    if (random(50) === 0) arena.u8[name + 4 + random(16)] = random(256);
    const at = arena.rxSlots + random(20_000);
    const bytes = writeDamaged(arena, at, packets);
    const segmentBytes = random(3) === 0 ? 1 + random(bytes) : bytes;
    offered += Math.ceil(bytes / segmentBytes);
    inbound.takeDatagrams(at, bytes, segmentBytes, name, isV6);
    if (random(10) === 0) coalescer.flush();
  }
  coalescer.flush();
  const { carried, dropped } = counters.byName();
  expect(carried.receivedPackets + sum(dropped)).toBe(offered);
  expect(carried.receivedPackets).toBeGreaterThan(ROUNDS / 20);
  expect(written).toBeGreaterThan(0);
  expect(written).toBeLessThanOrEqual(carried.receivedPackets);
});

it(`survives ${ROUNDS} damaged packets from the device, seed ${seed}`, { timeout: 120_000 }, () => {
  const arena = new Arena();
  const counters = new Counters();
  let added = 0;
  const batch = {
    table,
    takeHeader: () => arena.txHeaders,
    add: (_peer: number, _isV6: boolean, offset: number, bytes: number, rest: number, restBytes: number) => {
      added++;
      const end = Math.max(offset + bytes, rest + restBytes);
      if (bytes <= 0 || restBytes < 0 || end > arena.txPacketsEnd + 1_024 * 128)
        throw new Error("outside of the arena");
    },
    flush: () => undefined,
  };
  const icmp = new IcmpErrors({ arena, counters, ...noIcmp });
  const outbound = new Outbound({ arena, tun: -1, batch, icmp, pathMtus: new PathMtus(), counters });
  const packets = templates(ours, theirs);
  const at = arena.txPackets + 4;
  for (let round = 0; round < ROUNDS; round++) {
    const bytes = writeDamaged(arena, at + VNET_HEADER_BYTES, packets);
    arena.u8.fill(0, at, at + VNET_HEADER_BYTES);
    if (random(2) === 0) {
      arena.u8[at + vnet.flags] = random(4);
      arena.u8[at + vnet.gsoType] = [0, 1, 4, 5, 0x81, random(256)][random(6)] ?? 0;
      arena.view.setUint16(at + vnet.gsoSize, random(4) === 0 ? random(65_536) : random(1_500), true);
      arena.view.setUint16(at + vnet.checksumStart, random(3) === 0 ? random(65_536) : random(2) * 20 + 20, true);
      arena.view.setUint16(at + vnet.checksumOffset, random(3) === 0 ? random(65_536) : 16, true);
    }
    const before = added + sum(counters.byName().dropped);
    outbound.take(at, VNET_HEADER_BYTES + bytes);
    if (added + sum(counters.byName().dropped) === before) throw new Error(`a packet vanished, seed ${seed}`);
  }
  expect(added).toBeGreaterThan(ROUNDS / 20);
});
