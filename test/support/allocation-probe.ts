// Measures what the packet path allocates, in a process of its own, where it is compiled as in the product. Prints JSON:
// bytes that the heap grows by for each packet, by kind of packet.
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { openUdpSocket } from "../../src/sys/udp-socket.ts";
import { Arena, VNET_HEADER_BYTES } from "../../src/tunnel/arena.ts";
import { Coalescer } from "../../src/tunnel/coalescer.ts";
import { Counters } from "../../src/tunnel/counters.ts";
import { ForwardingTable } from "../../src/tunnel/forwarding-table.ts";
import { IcmpErrors } from "../../src/tunnel/icmp-errors.ts";
import { Inbound } from "../../src/tunnel/inbound.ts";
import { MessageBatch } from "../../src/tunnel/message-batch.ts";
import { Outbound } from "../../src/tunnel/outbound.ts";
import { vnet } from "../../src/tunnel/packet.ts";
import { PathMtus } from "../../src/tunnel/path-mtus.ts";
import { makePacket } from "./packets.ts";

const WARM_UP_PACKETS = 200_000;
/** Few enough that the heap is not cleaned in between. */
const PACKETS = 64 * 100;
const ours = [10, 5, 1, 2];
const theirs = [10, 5, 2, 2];
const others = [10, 5, 3, 2];

const arena = new Arena();
const counters = new Counters();
const icmp = new IcmpErrors({ arena, counters, ipv4: -1, ipv6: -1, source4: undefined, source6: undefined });
const table = ForwardingTable.build(
  {
    device: "t",
    port: 8285,
    own: { subnet: parsePrefix("10.5.1.0/24") },
    peers: [
      { key: "a", subnet: parsePrefix("10.5.2.0/24"), publicIp: parseAddress("127.0.0.2") },
      { key: "b", subnet: parsePrefix("10.5.3.0/24"), publicIp: parseAddress("127.0.0.3") },
    ],
    checkSource: true,
    offload: true,
  },
  () => 0,
);
const socket = openUdpSocket(parseAddress("127.0.0.1"), 8285, 65_536);
const pathMtus = new PathMtus();
const batch = new MessageBatch(arena, { ipv4: socket.number, ipv6: -1 }, counters, pathMtus, table, true);
const outbound = new Outbound({ arena, tun: -1, batch, icmp, pathMtus, counters });
const coalescer = new Coalescer(arena, { tcp: true, udp: true }, () => undefined);
const inbound = new Inbound({ arena, coalescer, counters, icmp }, table);

/** Packets to two peers in turn, so that none can be joined with the one before. */
function sends(protocol: 6 | 17, payloadBytes: number, segmentBytes: number): () => void {
  const at = arena.txPackets + 4;
  const packets = [theirs, others].map((destination) =>
    makePacket({ source: ours, destination, protocol, payload: new Uint8Array(payloadBytes) }),
  );
  let count = 0;
  return () => {
    const packet = packets[count++ & 1] as Uint8Array;
    arena.u8.fill(0, at, at + VNET_HEADER_BYTES);
    arena.u8.set(packet, at + VNET_HEADER_BYTES);
    if (segmentBytes > 0) {
      arena.u8[at + vnet.gsoType] = protocol === 6 ? vnet.gsoTcp4 : vnet.gsoUdp;
      arena.view.setUint16(at + vnet.gsoSize, segmentBytes, true);
    }
    outbound.take(at, VNET_HEADER_BYTES + packet.length);
    if (count % 64 === 0) batch.flush();
  };
}

function receives(packet: Uint8Array, sender: string): () => void {
  const senderBytes = sender.split(".").map(Number);
  let count = 0;
  return () => {
    const at = arena.rxSlots + (count++ & 15) * 2_048;
    arena.u8.set(senderBytes, arena.rxNames + 4);
    arena.u8.set(packet, at);
    inbound.takeDatagrams(at, packet.length, packet.length, arena.rxNames, false);
    if (count % 16 === 0) coalescer.flush();
  };
}

const from = (source: readonly number[], protocol: 6 | 17, ttl = 64) =>
  makePacket({ source, destination: ours, protocol, ttl, payload: new Uint8Array(1_000) });

const kinds: Readonly<Record<string, () => void>> = {
  "sent, UDP": sends(17, 100, 0),
  "sent, UDP, so large that a path may not carry it": sends(17, 1_400, 0),
  "sent, TCP in large pieces": sends(6, 4_000, 1_400),
  "sent, UDP in large pieces": sends(17, 4_000, 1_400),
  "received, UDP": receives(from(theirs, 17), "127.0.0.2"),
  "received, TCP": receives(from(theirs, 6), "127.0.0.2"),
  "received from a stranger": receives(from(theirs, 17), "127.0.0.9"),
  "received with another's source": receives(from(others, 17), "127.0.0.2"),
  "received at the end of its life": receives(from(theirs, 17, 1), "127.0.0.2"),
  "received, not a packet": receives(Uint8Array.of(0x45, 1, 2, 3), "127.0.0.2"),
};

/** The median of several tries. */
function heapBytesForEach(act: () => void): number {
  for (let round = 0; round < WARM_UP_PACKETS; round++) act();
  const tries = Array.from({ length: 9 }, () => {
    const before = process.memoryUsage().heapUsed;
    for (let round = 0; round < PACKETS; round++) act();
    return Math.max(0, process.memoryUsage().heapUsed - before) / PACKETS;
  });
  return tries.sort((a, b) => a - b)[4] ?? Number.NaN;
}

const result = Object.entries(kinds).map(([kind, act]) => [kind, heapBytesForEach(act)]);
// Not measured in vain: the packets went where they should.
const { carried, dropped } = counters.byName();
console.log(JSON.stringify({ bytes: Object.fromEntries(result), carried, dropped }));
