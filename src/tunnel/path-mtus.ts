// Paths to peers that carry less than the device promises, as far as the kernel knows. It refuses to send segments that do not fit, which is
// when it is asked; a packet alone it cuts in two and says nothing, so that it is asked about those in advance.
import { addressFromBytes } from "../ip/address.ts";
import { socketAddress } from "../sys/socket-address.ts";
import { pathMtuTo } from "../sys/udp-socket.ts";
import { type ForwardingTable, peerField } from "./forwarding-table.ts";

/** Outer IP and UDP headers. */
const OVERHEAD_BYTES = { ipv4: 28, ipv6: 48 } as const;
/** Short: a path may widen again, and asking costs little. */
const REMEMBER_MS = 10_000;
const ASK_AGAIN_MS = 1_000;
/** What every IPv6 path carries; below it the sender would not listen, and the outside is fragmented (RFC 2473, 7.1). */
const LEAST_IPV6_BYTES = 1_280;
const NO_LIMIT = 65_535;
/** What every path carries whole (RFC 791 and 8200, less the outer headers; no IPv6 sender goes below 1280). */
const ALWAYS_BYTES = { ipv4: 576 - OVERHEAD_BYTES.ipv4, ipv6: LEAST_IPV6_BYTES } as const;

interface Known {
  /** Whose path it is: a counter slot goes to another peer when its own is gone. */
  readonly address: Int32Array;
  readonly limitBytes: number;
  readonly learnedAtMs: number;
}

export class PathMtus {
  readonly #known = new Map<number, Known>();
  /** When the path was last asked about for a packet alone. */
  readonly #askedAtMs = new Map<number, number>();

  /** Largest inner packet for the peer in one unfragmented datagram, in bytes. */
  limitBytes(table: ForwardingTable, peer: number, isV6: boolean): number {
    if (this.#known.size === 0) return NO_LIMIT;
    const key = keyOf(table, peer, isV6);
    const known = this.#known.get(key);
    if (known === undefined || !isAddressOf(known.address, table, peer, isV6)) return NO_LIMIT;
    if (performance.now() - known.learnedAtMs < REMEMBER_MS) return known.limitBytes;
    this.#known.delete(key);
    return NO_LIMIT;
  }

  /** As `limitBytes`, for a packet of `bytes` that is sent alone and must not be cut. Asks the kernel at most once a second. */
  limitOfLoneBytes(table: ForwardingTable, peer: number, isV6: boolean, bytes: number): number {
    const limit = this.limitBytes(table, peer, isV6);
    if (limit !== NO_LIMIT || bytes <= (isV6 ? ALWAYS_BYTES.ipv6 : ALWAYS_BYTES.ipv4)) return limit;
    const key = keyOf(table, peer, isV6);
    const nowMs = performance.now();
    if (nowMs - (this.#askedAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < ASK_AGAIN_MS) return limit;
    this.#askedAtMs.set(key, nowMs);
    const asked = askLimit(table, peer, isV6);
    if (asked >= bytes) return limit;
    this.#known.set(key, { address: addressOf(table, peer, isV6), limitBytes: asked, learnedAtMs: nowMs });
    return asked;
  }

  /** Asks the kernel for the path's MTU, seldom. */
  learn(table: ForwardingTable, peer: number, isV6: boolean): void {
    const key = keyOf(table, peer, isV6);
    const nowMs = performance.now();
    const known = this.#known.get(key);
    const isKnown = known !== undefined && isAddressOf(known.address, table, peer, isV6);
    if (isKnown && nowMs - known.learnedAtMs < ASK_AGAIN_MS) return;
    const address = addressOf(table, peer, isV6);
    this.#known.set(key, { address, limitBytes: askLimit(table, peer, isV6), learnedAtMs: nowMs });
  }
}

function keyOf(table: ForwardingTable, peer: number, isV6: boolean): number {
  return table.peerWord(peer, peerField.counterSlot) * 2 + (isV6 ? 1 : 0);
}

function fieldOf(isV6: boolean): number {
  return isV6 ? peerField.ipv6 : peerField.ipv4;
}

function addressOf(table: ForwardingTable, peer: number, isV6: boolean): Int32Array {
  return Int32Array.from({ length: isV6 ? 4 : 1 }, (_, word) => table.peerWord(peer, fieldOf(isV6) + word));
}

function isAddressOf(address: Int32Array, table: ForwardingTable, peer: number, isV6: boolean): boolean {
  for (let word = 0; word < address.length; word++) {
    if (address[word] !== table.peerWord(peer, fieldOf(isV6) + word)) return false;
  }
  return true;
}

function askLimit(table: ForwardingTable, peer: number, isV6: boolean): number {
  const words = addressOf(table, peer, isV6);
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [word, value] of words.entries()) view.setInt32(word * 4, value);
  const port = table.peerWord(peer, isV6 ? peerField.ipv6Port : peerField.port);
  try {
    const pathBytes = pathMtuTo(socketAddress(addressFromBytes(bytes), port));
    return isV6 ? Math.max(pathBytes - OVERHEAD_BYTES.ipv6, LEAST_IPV6_BYTES) : pathBytes - OVERHEAD_BYTES.ipv4;
  } catch {
    return NO_LIMIT; // no route right now: sending will say so
  }
}
