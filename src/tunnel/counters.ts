// What the packet path counts, in shared memory: one writer (the pump), any number of readers, no locks. 64-bit floats
// count exactly up to 2^53 and are written as a whole on the machines we run on. Pure.

/** Totals; names as in status. Packets are those inside, bytes theirs; received: let in, see `deviceRefused`. */
const counterNames = [
  "sentPackets",
  "sentBytes",
  "sentDatagramBatches",
  "receivedPackets",
  "receivedBytes",
  "receivedDatagramBatches",
  "icmpErrorsSent",
] as const;

/** Why a packet was not passed on. */
const dropReasons = [
  /** No valid IP packet, or its header checksum is wrong. */
  "malformed",
  /** No lease holds the destination. */
  "noRoute",
  "ttlExpired",
  /** Larger than the path to the peer carries, and not to be fragmented. */
  "tooBig",
  /** To a multicast or broadcast address: flannel carries none. */
  "multicast",
  /** From an address that holds no lease. */
  "unknownSender",
  /** The inner source is not in the sender's subnet. */
  "foreignSource",
  /** The inner destination is not in our subnet. */
  "foreignDestination",
  /** The datagram was longer than any packet. */
  "truncated",
  /** The kernel refused to send: no route, firewall. */
  "sendRefused",
  /** The socket or the device below had no room. */
  "sendQueueFull",
  /** Of those received: the TUN device is down, or finds something wrong that we did not. */
  "deviceRefused",
] as const;

type CounterName = (typeof counterNames)[number];
type DropReason = (typeof dropReasons)[number];

/** Counter indexes: totals, then reasons. */
export const counter = Object.fromEntries([...counterNames, ...dropReasons].map((name, index) => [name, index])) as {
  readonly [Name in CounterName | DropReason]: number;
};

export const peerCounter = { sentPackets: 0, sentBytes: 1, receivedPackets: 2, receivedBytes: 3 } as const;
const PEER_COUNTERS = 4;
/** Leases in one network; memory is only used for those there are. */
export const MAX_PEERS = 65_536;

export interface CountersByName {
  readonly carried: { readonly [Name in CounterName]: number };
  readonly dropped: { readonly [Reason in DropReason]: number };
}

export class Counters {
  readonly buffer: SharedArrayBuffer;
  readonly #totals: Float64Array;
  readonly #peers: Float64Array;

  /** Around an existing buffer in the other thread, or a new one. */
  constructor(buffer = new SharedArrayBuffer(8 * (64 + MAX_PEERS * PEER_COUNTERS))) {
    this.buffer = buffer;
    this.#totals = new Float64Array(buffer, 0, 64);
    this.#peers = new Float64Array(buffer, 8 * 64);
  }

  add(index: number, amount: number): void {
    this.#totals[index] = (this.#totals[index] ?? 0) + amount;
  }

  /** In both directions. */
  carriedBytes(): number {
    return (this.#totals[counter.sentBytes] ?? 0) + (this.#totals[counter.receivedBytes] ?? 0);
  }

  /** In both directions. */
  carriedPackets(): number {
    return (this.#totals[counter.sentPackets] ?? 0) + (this.#totals[counter.receivedPackets] ?? 0);
  }

  /** `packets` and `bytes` more, to (`peerCounter.sentPackets`) or from (`receivedPackets`) the peer of that slot. */
  addForPeer(slot: number, first: number, packets: number, bytes: number): void {
    const at = slot * PEER_COUNTERS + first;
    this.#peers[at] = (this.#peers[at] ?? 0) + packets;
    this.#peers[at + 1] = (this.#peers[at + 1] ?? 0) + bytes;
  }

  /** By the names of `peerCounter`. */
  ofPeer(slot: number): { readonly [Name in keyof typeof peerCounter]: number } {
    const at = (index: number) => this.#peers[slot * PEER_COUNTERS + index] ?? 0;
    return {
      sentPackets: at(peerCounter.sentPackets),
      sentBytes: at(peerCounter.sentBytes),
      receivedPackets: at(peerCounter.receivedPackets),
      receivedBytes: at(peerCounter.receivedBytes),
    };
  }

  clearPeer(slot: number): void {
    this.#peers.fill(0, slot * PEER_COUNTERS, (slot + 1) * PEER_COUNTERS);
  }

  /** What was carried, and what was dropped, by name. */
  byName(): CountersByName {
    const read = (name: CounterName | DropReason) => [name, this.#totals[counter[name]] ?? 0];
    return {
      carried: Object.fromEntries(counterNames.map(read)) as CountersByName["carried"],
      dropped: Object.fromEntries(dropReasons.map(read)) as CountersByName["dropped"],
    };
  }
}
