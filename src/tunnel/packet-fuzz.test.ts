// Nothing that a stranger sends or a container writes makes the packet path crash, hang or lose count: random bytes, and
// valid packets with bits flipped, cut short or with lengths that lie. Millions of them in all slices together.
import { expect, it } from "vitest";
import { DamagedPackets } from "../../test/support/damaged-packets.ts";
import { printReplayOnFailure, scaled, sliceSeeds } from "../../test/support/fuzz.ts";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import { Arena, VNET_HEADER_BYTES } from "./arena.ts";
import { Coalescer } from "./coalescer.ts";
import { Counters, counter } from "./counters.ts";
import { ForwardingTable } from "./forwarding-table.ts";
import { IcmpErrors } from "./icmp-errors.ts";
import { Inbound } from "./inbound.ts";
import { Outbound } from "./outbound.ts";
import { vnet } from "./packet.ts";
import { PathMtus } from "./path-mtus.ts";

/** Of each slice. `FUZZ=x30 npm test -- packet-fuzz` makes 90 million packets each way and takes some minutes. */
const ROUNDS = scaled(3_000_000, 1);
const ours = { v4: [10, 5, 1, 2], v6: [0xfd, 0, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] };
const theirs = { v4: [10, 5, 2, 2], v6: [0xfd, 0, 0, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] };

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

const sum = (values: Readonly<Record<string, number>>) => Object.values(values).reduce((a, b) => a + b, 0);
const noIcmp = { ipv4: -1, ipv6: -1, source4: undefined, source6: undefined };

it.each(sliceSeeds())(`survives ${ROUNDS} damaged datagrams, seed %i`, { timeout: 600_000 }, (seed) => {
  printReplayOnFailure(seed);
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
  const packets = new DamagedPackets(seed, theirs, ours);
  const name = arena.rxNames;
  let offered = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const isV6 = packets.random(2) === 0;
    arena.set32(name + 4, 0xc0000201);
    if (isV6) arena.u8.set([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], name + 8);
    if (packets.random(50) === 0) arena.u8[name + 4 + packets.random(16)] = packets.random(256);
    const at = arena.rxSlots + packets.random(20_000);
    const bytes = packets.write(arena.u8, at);
    const segmentBytes = packets.random(3) === 0 ? 1 + packets.random(bytes) : bytes;
    offered += Math.ceil(bytes / segmentBytes);
    inbound.takeDatagrams(at, bytes, segmentBytes, name, isV6);
    if (packets.random(10) === 0) coalescer.flush();
  }
  coalescer.flush();
  const { carried, dropped } = counters.byName();
  expect(carried.receivedPackets + sum(dropped)).toBe(offered);
  expect(carried.receivedPackets).toBeGreaterThan(ROUNDS / 20);
  expect(written).toBeGreaterThan(0);
  expect(written).toBeLessThanOrEqual(carried.receivedPackets);
});

it.each(sliceSeeds())(`survives ${ROUNDS} damaged packets from the device, seed %i`, { timeout: 600_000 }, (seed) => {
  printReplayOnFailure(seed);
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
    send: () => undefined,
  };
  const icmp = new IcmpErrors({ arena, counters, ...noIcmp });
  const outbound = new Outbound({ arena, tun: -1, batch, icmp, pathMtus: new PathMtus(), counters });
  const packets = new DamagedPackets(seed, ours, theirs);
  const totals = new Float64Array(counters.buffer, 0, 64);
  const droppedSoFar = () => totals.subarray(counter.malformed).reduce((a, b) => a + b, 0);
  const at = arena.txPackets + 4;
  for (let round = 0; round < ROUNDS; round++) {
    const bytes = packets.write(arena.u8, at + VNET_HEADER_BYTES);
    arena.u8.fill(0, at, at + VNET_HEADER_BYTES);
    if (packets.random(2) === 0) {
      arena.u8[at + vnet.flags] = packets.random(4);
      arena.u8[at + vnet.gsoType] = [0, 1, 4, 5, 0x81, packets.random(256)][packets.random(6)] ?? 0;
      arena.view.setUint16(
        at + vnet.gsoSize,
        packets.random(4) === 0 ? packets.random(65_536) : packets.random(1_500),
        true,
      );
      arena.view.setUint16(
        at + vnet.checksumStart,
        packets.random(3) === 0 ? packets.random(65_536) : packets.random(2) * 20 + 20,
        true,
      );
      arena.view.setUint16(at + vnet.checksumOffset, packets.random(3) === 0 ? packets.random(65_536) : 16, true);
    }
    const droppedBefore = droppedSoFar();
    const addedBefore = added;
    outbound.take(at, VNET_HEADER_BYTES + bytes);
    // Passed on, in one piece or many, or dropped, once.
    const dropped = droppedSoFar() - droppedBefore;
    if (dropped !== (added === addedBefore ? 1 : 0)) throw new Error("a packet was lost count of");
  }
  expect(added).toBeGreaterThan(ROUNDS / 20);
});
