// From the TUN device to the peers, in the order a packet meets it: read, checked, routed, one hop taken off, checksum
// finished or cut into segments, put into the batch; the batch is sent when the device has no more.
import { errnos } from "../sys/errno.ts";
import { readInto, settled } from "../sys/libc.ts";
import { type Arena, VNET_HEADER_BYTES } from "./arena.ts";
import { fold } from "./checksum.ts";
import { type Counters, counter } from "./counters.ts";
import { type ForwardingTable, NO_PEER } from "./forwarding-table.ts";
import type { IcmpErrors } from "./icmp-errors.ts";
import type { DatagramSink } from "./message-batch.ts";
import {
  decrementTtl4,
  decrementTtl6,
  IPV6_HEADER_BYTES,
  ipv4HeaderBytes,
  isBareTcp,
  isMulticast4,
  TCP,
  vnet,
} from "./packet.ts";
import type { PathMtus } from "./path-mtus.ts";
import { Segmenter } from "./segmenter.ts";

const MAX_PACKETS = 64;
/** Up to this size a packet is taken for a question or an answer. */
const SMALL_BYTES = 512;
const LARGEST_READ_BYTES = VNET_HEADER_BYTES + 65_535;

const expectedOfRead = [errnos.EAGAIN, errnos.EINTR];

/** Apart from the loop, so that it allocates nothing while reads succeed. */
function settleRead(result: number, tun: number, address: number): number {
  return settled(result, expectedOfRead, () => readInto(tun, address, LARGEST_READ_BYTES));
}

/** The device is gone or was never ours: the pump has to restart. */
export class DeviceLost extends Error {
  override readonly name = "DeviceLost";
}

export interface OutboundOptions {
  readonly arena: Arena;
  readonly tun: number;
  readonly batch: DatagramSink;
  readonly icmp: IcmpErrors;
  readonly pathMtus: PathMtus;
  readonly counters: Counters;
}

export class Outbound {
  readonly #arena: Arena;
  readonly #options: OutboundOptions;
  readonly #segmenter: Segmenter;
  /** Small packets so far that are not mere acknowledgements; starts over at 2^31. They may be waited for. */
  smallPackets = 0;
  #table: ForwardingTable;
  /** The last look-up: packets come in trains. */
  #lastDestination = 0;
  #lastPeer = NO_PEER;

  constructor(options: OutboundOptions) {
    this.#options = options;
    this.#arena = options.arena;
    this.#segmenter = new Segmenter(options.arena);
    this.#table = options.batch.table;
  }

  setTable(table: ForwardingTable): void {
    this.#table = table;
    this.#lastPeer = NO_PEER;
    this.#options.batch.table = table;
  }

  /** Forwards one batch, of which some may be left in `batch`. Returns whether the device may have more. */
  run(): boolean {
    const { tun, batch } = this.#options;
    const { txPackets, txPacketsEnd, base } = this.#arena;
    let next = txPackets;
    let reads = 0;
    let hasMore = true;
    while (reads < MAX_PACKETS && next + LARGEST_READ_BYTES + 16 <= txPacketsEnd) {
      // The IP header behind the virtio header is to lie at a multiple of 16.
      const at = ((next + VNET_HEADER_BYTES + 15) & ~15) - VNET_HEADER_BYTES;
      let bytes = readInto(tun, base + at, LARGEST_READ_BYTES);
      if (bytes < 0) bytes = settleRead(bytes, tun, base + at);
      if (bytes < 0) {
        if (bytes === -errnos.EINTR) continue;
        hasMore = bytes !== -errnos.EAGAIN;
        if (!hasMore) break;
        throw new DeviceLost(`read of the TUN device: errno ${-bytes}`);
      }
      reads++;
      next = at + bytes;
      this.take(at, bytes);
    }
    if (reads > 0) batch.send();
    return hasMore;
  }

  /** One packet as read: virtio header at `at`, `bytes` in all. */
  take(at: number, bytes: number): void {
    const ip = at + VNET_HEADER_BYTES;
    const length = bytes - VNET_HEADER_BYTES;
    const version = length > 0 ? (this.#arena.u8[ip] ?? 0) >> 4 : 0;
    if (version === 4) this.#take4(at, ip, length);
    else if (version === 6) this.#take6(at, ip, length);
    else this.#drop(counter.malformed);
  }

  #take4(at: number, ip: number, length: number): void {
    const arena = this.#arena;
    const headerBytes = ipv4HeaderBytes(arena, ip, length);
    const total = headerBytes === 0 ? 0 : arena.get16(ip + 2);
    if (total < headerBytes || total === 0 || total > length) {
      this.#drop(counter.malformed);
      return;
    }
    const destination = arena.get32(ip + 16);
    if (isMulticast4(destination)) {
      this.#drop(counter.multicast);
      return;
    }
    const peer = this.#route4(destination);
    if (peer === NO_PEER) {
      this.#complain("noRoute", ip, total, false);
      return;
    }
    if ((arena.u8[ip + 8] ?? 0) <= 1) {
      this.#complain("ttlExpired", ip, total, false);
      return;
    }
    decrementTtl4(arena, ip);
    this.#pass(at, ip, total, ip + headerBytes, peer, false);
  }

  #take6(at: number, ip: number, length: number): void {
    const arena = this.#arena;
    if (length < IPV6_HEADER_BYTES) {
      this.#drop(counter.malformed);
      return;
    }
    const total = IPV6_HEADER_BYTES + arena.get16(ip + 4);
    if (total > length) {
      this.#drop(counter.malformed);
      return;
    }
    if (arena.u8[ip + 24] === 0xff) {
      this.#drop(counter.multicast);
      return;
    }
    const peer = this.#table.lookUp6(arena.view, ip + 24);
    if (peer === NO_PEER) {
      this.#complain("noRoute", ip, total, true);
      return;
    }
    if ((arena.u8[ip + 7] ?? 0) <= 1) {
      this.#complain("ttlExpired", ip, total, true);
      return;
    }
    decrementTtl6(arena, ip);
    // Behind extension headers too: the device says where the checksum begins.
    this.#pass(at, ip, total, ip + arena.view.getUint16(at + vnet.checksumStart, true), peer, true);
  }

  /** A routed packet of `length` bytes; `transport` is where its TCP or UDP header is, if it is a super-packet. */
  #pass(at: number, ip: number, length: number, transport: number, peer: number, isV6: boolean): void {
    const { batch, pathMtus } = this.#options;
    const { u8, view } = this.#arena;
    const gso = (u8[at + vnet.gsoType] ?? 0) & ~vnet.gsoEcn;
    let datagramBytes = length;
    if (gso !== vnet.gsoNone) {
      const segmentBytes = view.getUint16(at + vnet.gsoSize, true);
      const hasTcp = gso === vnet.gsoTcp4 || gso === vnet.gsoTcp6;
      if (!hasTcp && gso !== vnet.gsoUdp) {
        this.#drop(counter.malformed);
        return;
      }
      if (!this.#segmenter.open(ip, length, isV6, transport, hasTcp, segmentBytes)) {
        this.#drop(counter.malformed);
        return;
      }
      datagramBytes = this.#segmenter.segmentBytes;
    } else if (((u8[at + vnet.flags] ?? 0) & vnet.needsChecksum) !== 0 && !this.#finishChecksum(at, ip, length)) {
      this.#drop(counter.malformed);
      return;
    }
    if (length <= SMALL_BYTES && !isBareTcp(this.#arena, ip, length, isV6)) {
      this.smallPackets = (this.smallPackets + 1) | 0;
    }
    if (this.#mustNotFragment(ip, isV6)) {
      const limit =
        gso === vnet.gsoNone
          ? pathMtus.limitOfLoneBytes(this.#table, peer, isV6, length)
          : pathMtus.limitBytes(this.#table, peer, isV6);
      if (datagramBytes > limit) {
        this.#complain("tooBig", ip, length, isV6, limit);
        return;
      }
    }
    if (gso === vnet.gsoNone) batch.add(peer, isV6, ip, length, 0, 0);
    else this.#segmenter.emit(batch, peer);
  }

  /** Completes a checksum that the kernel left to the device: the field holds the pseudo-header's sum. */
  #finishChecksum(at: number, ip: number, length: number): boolean {
    const { view, u8, u16, sumOf } = this.#arena;
    const start = view.getUint16(at + vnet.checksumStart, true);
    const field = start + view.getUint16(at + vnet.checksumOffset, true);
    if (field + 2 > length || (field & 1) !== 0) return false;
    const checksum = ~fold(sumOf(ip + start, length - start)) & 0xffff;
    const protocol = u8[ip + ((u8[ip] ?? 0) >> 4 === 4 ? 9 : 6)];
    u16[(ip + field) >> 1] = checksum === 0 && protocol !== TCP ? 0xffff : checksum;
    return true;
  }

  #mustNotFragment(ip: number, isV6: boolean): boolean {
    return isV6 || ((this.#arena.u8[ip + 6] ?? 0) & 0x40) !== 0;
  }

  #route4(destination: number): number {
    if (destination === this.#lastDestination && this.#lastPeer !== NO_PEER) return this.#lastPeer;
    this.#lastPeer = this.#table.lookUp4(destination);
    this.#lastDestination = destination;
    return this.#lastPeer;
  }

  #complain(what: "noRoute" | "ttlExpired" | "tooBig", ip: number, length: number, isV6: boolean, mtuBytes = 0): void {
    this.#options.icmp.send(what, ip, length, isV6, mtuBytes);
    this.#drop(counter[what]); // last: who sees it counted knows that all about it is done
  }

  #drop(reason: number): void {
    this.#options.counters.add(reason, 1);
  }
}
