// Which host a packet goes to, by longest prefix, and which hosts may send to us. Built by the control plane into shared
// memory as a whole and never changed: the packet path swaps one table for the next between two batches. Pure.
import { type Address, addressToBytes, type Prefix, prefixAddress, prefixLength } from "../ip/address.ts";
import { buildHash, findInHash, HASH_HEADER_WORDS, type HashEntry, hashWords } from "./prefix-hash.ts";
import type { TunnelPeer, TunnelState } from "./tunnel-state.ts";

/** Words of a peer's record: IPv4 address, IPv6 address, the ports (0: family not in use), counter slot. */
const PEER_WORDS = 8;
export const peerField = { ipv4: 0, ipv6: 1, port: 5, ipv6Port: 6, counterSlot: 7 } as const;

/** Words at the start: where the parts are, our own subnets, flags. */
const head = {
  peerCount: 0,
  peers: 1,
  routes4: 2,
  routes6: 3,
  senders4: 4,
  senders6: 5,
  lengths4: 6,
  lengths6: 7,
  hasOwn4: 8,
  own4: 9,
  mask4: 10,
  hasOwn6: 11,
  own6: 12,
  mask6: 16,
  checkSource: 20,
  words: 21,
} as const;

/** Answer of a look-up that found nothing. */
export const NO_PEER = -1;

export class ForwardingTable {
  readonly buffer: SharedArrayBuffer;
  readonly words: Int32Array;
  readonly checkSource: boolean;
  readonly #key = new Int32Array(5);
  /** Start of the peers' records. */
  readonly #peers: number;

  /** Around a buffer made by `build`, in any thread. */
  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer);
    this.#peers = this.#head(head.peers);
    this.checkSource = this.#head(head.checkSource) === 1;
  }

  /** `counterSlotOf` gives each peer the place of its counters, `takeBuffer` memory of at least so many bytes. */
  static build(
    state: TunnelState,
    counterSlotOf: (peer: TunnelPeer) => number,
    takeBuffer = (bytes: number) => new SharedArrayBuffer(bytes),
  ): ForwardingTable {
    const { peers } = state;
    const routes4 = peers.flatMap((peer, index) => routeEntry(peer.publicIp && peer.subnet, index));
    const routes6 = peers.flatMap((peer, index) => routeEntry(peer.publicIpv6 && peer.ipv6Subnet, index));
    const senders4 = peers.flatMap(({ publicIp }, index) => senderEntry(publicIp, index));
    const senders6 = peers.flatMap(({ publicIpv6 }, index) => senderEntry(publicIpv6, index));
    const parts = [routes4, routes6, senders4, senders6];
    const lengths = [lengthsOf(routes4, 1), lengthsOf(routes6, 4)];
    const lengthWords = lengths.reduce((sum, list) => sum + list.length + 1, 0);
    const hashSizes = parts.map((entries, index) => HASH_HEADER_WORDS + hashWords(entries.length, keyWordsOf(index)));
    const total = head.words + peers.length * PEER_WORDS + lengthWords + hashSizes.reduce((a, b) => a + b, 0);
    const words = new Int32Array(takeBuffer(total * 4)).fill(0);
    words[head.peerCount] = peers.length;
    words[head.peers] = head.words;
    let next: number = head.words;
    for (const peer of peers) {
      writePeer(words, next, peer, state, counterSlotOf(peer));
      next += PEER_WORDS;
    }
    for (const [index, list] of lengths.entries()) {
      words[head.lengths4 + index] = next;
      words.set([list.length, ...list], next);
      next += list.length + 1;
    }
    for (const [index, entries] of parts.entries()) {
      words[head.routes4 + index] = next;
      buildHash(words, next, entries, keyWordsOf(index));
      next += hashSizes[index] ?? 0;
    }
    writeOwn(words, state);
    return new ForwardingTable(words.buffer as SharedArrayBuffer);
  }

  get peerCount(): number {
    return this.#head(head.peerCount);
  }

  /** Index of the peer an IPv4 address (network order, signed) is behind, or NO_PEER. */
  lookUp4(address: number): number {
    const { words } = this;
    const lengths = this.#head(head.lengths4);
    const count = words[lengths] ?? 0;
    for (let index = 1; index <= count; index++) {
      const length = words[lengths + index] ?? 0;
      this.#key[0] = length === 0 ? 0 : address & (-1 << (32 - length));
      this.#key[1] = length;
      const found = findInHash(words, this.#head(head.routes4), this.#key, 2);
      if (found !== NO_PEER) return found;
    }
    return NO_PEER;
  }

  /** The same for the IPv6 address whose four words are at `at` of `view`. */
  lookUp6(view: DataView, at: number): number {
    const { words } = this;
    const lengths = this.#head(head.lengths6);
    const count = words[lengths] ?? 0;
    for (let index = 1; index <= count; index++) {
      const length = words[lengths + index] ?? 0;
      for (let word = 0; word < 4; word++) this.#key[word] = view.getInt32(at + word * 4) & maskWord(length, word);
      this.#key[4] = length;
      const found = findInHash(words, this.#head(head.routes6), this.#key, 5);
      if (found !== NO_PEER) return found;
    }
    return NO_PEER;
  }

  /** Whether some peer announces this public address. */
  isSender4(address: number): boolean {
    this.#key[0] = address;
    return findInHash(this.words, this.#head(head.senders4), this.#key, 1) !== NO_PEER;
  }

  isSender6(view: DataView, at: number): boolean {
    for (let word = 0; word < 4; word++) this.#key[word] = view.getInt32(at + word * 4);
    return findInHash(this.words, this.#head(head.senders6), this.#key, 4) !== NO_PEER;
  }

  isOwn4(address: number): boolean {
    return this.#head(head.hasOwn4) === 1 && (address & this.#head(head.mask4)) === this.#head(head.own4);
  }

  /** Whether all hosts of our own subnet are meant. */
  isOwnBroadcast4(address: number): boolean {
    return this.isOwn4(address) && (address | this.#head(head.mask4)) === -1;
  }

  isOwn6(view: DataView, at: number): boolean {
    if (this.#head(head.hasOwn6) === 0) return false;
    for (let word = 0; word < 4; word++) {
      if ((view.getInt32(at + word * 4) & this.#head(head.mask6 + word)) !== this.#head(head.own6 + word)) return false;
    }
    return true;
  }

  /** A word of a peer's record, see `peerField`. */
  peerWord(peer: number, field: number): number {
    return this.words[this.#peers + peer * PEER_WORDS + field] ?? 0;
  }

  #head(field: number): number {
    return this.words[field] ?? 0;
  }
}

/** Words of a key: (network, length) for routes, the address for senders; IPv4 and IPv6. */
function keyWordsOf(part: number): number {
  return [2, 5, 1, 4][part] ?? 0;
}

function routeEntry(prefix: Prefix | undefined, peer: number): HashEntry[] {
  if (prefix === undefined) return [];
  const length = prefixLength(prefix);
  const network = addressWords(prefixAddress(prefix)).map((word, index) => word & maskWord(length, index));
  return [{ key: [...network, length], value: peer }];
}

function senderEntry(address: Address | undefined, peer: number): HashEntry[] {
  return address === undefined ? [] : [{ key: addressWords(address), value: peer }];
}

/** Longest first: the order of look-up. */
function lengthsOf(entries: readonly HashEntry[], at: number): number[] {
  return [...new Set(entries.map(({ key }) => key[at] ?? 0))].sort((a, b) => b - a);
}

function writePeer(words: Int32Array, at: number, peer: TunnelPeer, state: TunnelState, counterSlot: number): void {
  if (peer.publicIp !== undefined && peer.subnet !== undefined) {
    words.set(addressWords(peer.publicIp), at + peerField.ipv4);
    words[at + peerField.port] = state.port;
  }
  if (peer.publicIpv6 !== undefined && peer.ipv6Subnet !== undefined) {
    words.set(addressWords(peer.publicIpv6), at + peerField.ipv6);
    words[at + peerField.ipv6Port] = peer.ipv6Port ?? state.port;
  }
  words[at + peerField.counterSlot] = counterSlot;
}

function writeOwn(words: Int32Array, { own, checkSource }: TunnelState): void {
  words[head.checkSource] = checkSource ? 1 : 0;
  for (const [prefix, has, network, mask] of [
    [own.subnet, head.hasOwn4, head.own4, head.mask4],
    [own.ipv6Subnet, head.hasOwn6, head.own6, head.mask6],
  ] as const) {
    if (prefix === undefined) continue;
    words[has] = 1;
    for (const [index, word] of addressWords(prefixAddress(prefix)).entries()) {
      const bits = maskWord(prefixLength(prefix), index);
      words[network + index] = word & bits;
      words[mask + index] = bits;
    }
  }
}

/** The part of a prefix's mask in word `index`. */
function maskWord(length: number, index: number): number {
  const bits = Math.min(32, Math.max(0, length - index * 32));
  return bits === 0 ? 0 : -1 << (32 - bits);
}

/** One word, or four, in network order. */
function addressWords(address: Address): number[] {
  const bytes = addressToBytes(address);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length / 4 }, (_, index) => view.getInt32(index * 4));
}
