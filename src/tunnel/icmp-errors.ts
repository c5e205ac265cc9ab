// Tells the sender of a packet why it cannot be delivered (RFC 792, 1812 section 4.3, 4443), as a router does. Sent
// through raw sockets, so that the kernel routes the answer like any packet of this host. Rate-limited.
import { sendFrom } from "../sys/libc.ts";
import { MSG_DONTWAIT } from "../sys/message-header.ts";
import type { Arena } from "./arena.ts";
import { fold, pseudoHeaderSum, sumWords, swapped } from "./checksum.ts";
import { type Counters, counter } from "./counters.ts";
import { ICMP, ICMPV6, IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, isMulticast4 } from "./packet.ts";

export type Complaint = "noRoute" | "ttlExpired" | "tooBig";

const icmp4: { readonly [C in Complaint]: readonly [type: number, code: number] } = {
  noRoute: [3, 0],
  ttlExpired: [11, 0],
  tooBig: [3, 4],
};
const icmp6: { readonly [C in Complaint]: readonly [type: number, code: number] } = {
  noRoute: [1, 0],
  ttlExpired: [3, 0],
  tooBig: [2, 0],
};
/** Unreachable, source quench, redirect, time exceeded, parameter problem. */
const icmp4Errors: ReadonlySet<number> = new Set([3, 4, 5, 11, 12]);
const ICMPV6_REDIRECT = 137;
const FRAGMENT_HEADER = 44;
/** Hop-by-hop options, routing, fragment, destination options: all begin with the next one's number. */
const extensionHeaders: ReadonlySet<number> = new Set([0, 43, FRAGMENT_HEADER, 60]);
const ICMP_HEADER_BYTES = 8;
/** RFC 1812: as much of the offender as fits these; RFC 4443: the smallest MTU of IPv6. */
const MAX_ICMP4_BYTES = 576;
const MAX_ICMP6_BYTES = 1280;
const HOPS = 64;
/** Internetwork control. */
const TOS = 0xc0;
const MAX_PER_SECOND = 100;
/** Senders whose packets do not fit wait for these, so that nothing else may use them up; Linux does not limit them. */
const MAX_TOO_BIG_PER_SECOND = 1_000;

export interface IcmpOptions {
  readonly arena: Arena;
  readonly counters: Counters;
  /** Raw sockets; -1: none, nothing is sent. */
  readonly ipv4: number;
  readonly ipv6: number;
  /** Our address on the device, in network order; missing without that family. */
  readonly source4: Uint8Array | undefined;
  readonly source6: Uint8Array | undefined;
}

export class IcmpErrors {
  readonly #options: IcmpOptions;
  readonly #destination4 = new Uint8Array(16);
  readonly #destination6 = new Uint8Array(28);
  readonly #upper6 = { protocol: 0, at: 0 };
  readonly #tooBigBudget = new Budget(MAX_TOO_BIG_PER_SECOND);
  readonly #budget = new Budget(MAX_PER_SECOND);

  constructor(options: IcmpOptions) {
    this.#options = options;
    this.#destination4[0] = 2; // AF_INET
    this.#destination6[0] = 10; // AF_INET6
  }

  /** About the packet of `length` bytes at `ip`; `mtuBytes` for `tooBig`. */
  send(complaint: Complaint, ip: number, length: number, isV6: boolean, mtuBytes = 0): void {
    const { ipv4, ipv6, source4, source6 } = this.#options;
    const budget = complaint === "tooBig" ? this.#tooBigBudget : this.#budget;
    if (isV6) {
      if (ipv6 < 0 || source6 === undefined || !this.#mayComplain6(ip, length) || !budget.take()) return;
      this.#send6(ipv6, source6, complaint, ip, length, mtuBytes);
    } else {
      if (ipv4 < 0 || source4 === undefined || !this.#mayComplain4(ip, length) || !budget.take()) return;
      this.#send4(ipv4, source4, complaint, ip, length, mtuBytes);
    }
  }

  /** Never about later fragments or ICMP errors, what went to many, or to what is no host's address. */
  #mayComplain4(ip: number, length: number): boolean {
    const { arena } = this.#options;
    const source = arena.get32(ip + 12);
    const first = source >>> 24;
    if (isMulticast4(source) || isMulticast4(arena.get32(ip + 16)) || first === 0 || first === 127) return false;
    if ((arena.get16(ip + 6) & 0x1fff) !== 0) return false;
    if (arena.u8[ip + 9] !== ICMP) return true;
    const type = ip + ((arena.u8[ip] ?? 0) & 15) * 4;
    return type < ip + length && !icmp4Errors.has(arena.u8[type] ?? 0);
  }

  #mayComplain6(ip: number, length: number): boolean {
    const { u8, view } = this.#options.arena;
    let isUnspecified = true;
    for (let at = ip + 8; at < ip + 24; at += 4) isUnspecified &&= view.getInt32(at) === 0;
    if (u8[ip + 8] === 0xff || u8[ip + 24] === 0xff || isUnspecified) return false;
    const upper = this.#upperHeader6(ip, ip + length);
    if (upper === undefined) return false;
    // Types below 128 are errors; a redirect is to be treated as one.
    const type = u8[upper.at] ?? 0;
    return upper.protocol !== ICMPV6 || (upper.at < ip + length && type >= 128 && type !== ICMPV6_REDIRECT);
  }

  /** What follows the extension headers of the packet at `ip`; undefined in a later fragment or a cut packet. */
  #upperHeader6(ip: number, end: number): { readonly protocol: number; readonly at: number } | undefined {
    const { arena } = this.#options;
    const { u8 } = arena;
    const upper = this.#upper6;
    upper.protocol = u8[ip + 6] ?? 0;
    upper.at = ip + IPV6_HEADER_BYTES;
    while (extensionHeaders.has(upper.protocol)) {
      if (upper.at + 8 > end) return undefined;
      const isFragment = upper.protocol === FRAGMENT_HEADER;
      if (isFragment && (arena.get16(upper.at + 2) & 0xfff8) !== 0) return undefined;
      upper.protocol = u8[upper.at] ?? 0;
      upper.at += isFragment ? 8 : ((u8[upper.at + 1] ?? 0) + 1) * 8;
    }
    return upper;
  }

  #send4(fd: number, source: Uint8Array, complaint: Complaint, ip: number, length: number, mtuBytes: number): void {
    const { arena } = this.#options;
    const { scratch, u8, u16 } = arena;
    const quoted = Math.min(length, MAX_ICMP4_BYTES - IPV4_HEADER_BYTES - ICMP_HEADER_BYTES);
    const icmp = scratch + IPV4_HEADER_BYTES;
    const total = IPV4_HEADER_BYTES + ICMP_HEADER_BYTES + quoted;
    u8.fill(0, scratch, icmp + ICMP_HEADER_BYTES);
    u8[scratch] = 0x45;
    u8[scratch + 1] = TOS;
    arena.set16(scratch + 2, total);
    u8[scratch + 8] = HOPS;
    u8[scratch + 9] = ICMP;
    u8.set(source, scratch + 12);
    u8.copyWithin(scratch + 16, ip + 12, ip + 16);
    u16[(scratch + 10) >> 1] = ~fold(sumWords(arena, scratch, IPV4_HEADER_BYTES));
    this.#writeMessage(icmp, icmp4[complaint], ip, quoted);
    arena.set16(icmp + 6, complaint === "tooBig" ? mtuBytes : 0);
    u16[(icmp + 2) >> 1] = ~fold(arena.sumOf(icmp, ICMP_HEADER_BYTES + quoted));
    this.#destination4.set(u8.subarray(scratch + 16, scratch + 20), 4);
    this.#sendScratch(fd, total, this.#destination4);
  }

  #send6(fd: number, source: Uint8Array, complaint: Complaint, ip: number, length: number, mtuBytes: number): void {
    const { arena } = this.#options;
    const { scratch, u8, u16 } = arena;
    const quoted = Math.min(length, MAX_ICMP6_BYTES - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES);
    const icmp = scratch + IPV6_HEADER_BYTES;
    u8.fill(0, scratch, icmp + ICMP_HEADER_BYTES);
    u8[scratch] = 0x60;
    arena.set16(scratch + 4, ICMP_HEADER_BYTES + quoted);
    u8[scratch + 6] = ICMPV6;
    u8[scratch + 7] = HOPS;
    u8.set(source, scratch + 8);
    u8.copyWithin(scratch + 24, ip + 8, ip + 24);
    this.#writeMessage(icmp, icmp6[complaint], ip, quoted);
    arena.set32(icmp + 4, complaint === "tooBig" ? mtuBytes : 0);
    const pseudo = pseudoHeaderSum(arena, scratch, true, ICMPV6) + swapped(ICMP_HEADER_BYTES + quoted);
    u16[(icmp + 2) >> 1] = ~fold(pseudo + fold(arena.sumOf(icmp, ICMP_HEADER_BYTES + quoted)));
    this.#destination6.set(u8.subarray(scratch + 24, scratch + 40), 8);
    this.#sendScratch(fd, IPV6_HEADER_BYTES + ICMP_HEADER_BYTES + quoted, this.#destination6);
  }

  #writeMessage(icmp: number, [type, code]: readonly [number, number], ip: number, quoted: number): void {
    const { u8 } = this.#options.arena;
    u8[icmp] = type;
    u8[icmp + 1] = code;
    u8.copyWithin(icmp + ICMP_HEADER_BYTES, ip, ip + quoted);
  }

  #sendScratch(fd: number, bytes: number, destination: Uint8Array): void {
    const { arena, counters } = this.#options;
    const sent = sendFrom(fd, arena.base + arena.scratch, bytes, MSG_DONTWAIT, destination, destination.length);
    // When a firewall forbids it or the sender is gone, so be it.
    if (sent >= 0) counters.add(counter.icmpErrorsSent, 1);
  }
}

class Budget {
  readonly #perSecond: number;
  #left: number;
  #filledAtMs = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#left = perSecond;
  }

  take(): boolean {
    const nowMs = performance.now();
    this.#left = Math.min(this.#perSecond, this.#left + ((nowMs - this.#filledAtMs) * this.#perSecond) / 1000);
    this.#filledAtMs = nowMs;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
