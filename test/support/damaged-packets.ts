// Packets as an attacker or a broken machine sends them: noise, and valid ones with bits flipped, cut short, or with
// lengths that lie. The same from the same seed.
import { makePacket } from "./packets.ts";

/** Addresses of one end, IPv4 and IPv6. */
export interface Ends {
  readonly v4: readonly number[];
  readonly v6: readonly number[];
}

const SIZES = [0, 1, 100, 1_400];
const HEADER_BYTES = 60;

export class DamagedPackets {
  readonly #packets: readonly Uint8Array[];
  #state: number;

  /** Of `families`, both by default; `seed` is not 0. */
  constructor(seed: number, from: Ends, to: Ends, families: readonly ("v4" | "v6")[] = ["v4", "v6"]) {
    this.#state = seed;
    this.#packets = families.flatMap((family) =>
      ([6, 17] as const).flatMap((protocol) =>
        SIZES.map((size) =>
          makePacket({ source: from[family], destination: to[family], protocol, payload: new Uint8Array(size) }),
        ),
      ),
    );
  }

  /** xorshift32. */
  random(below: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % below;
  }

  /** Writes one at `at`. Returns its length, at least 1. */
  write(u8: Uint8Array, at: number): number {
    const packet = this.#packets[this.random(this.#packets.length)] as Uint8Array;
    u8.set(packet, at);
    if (this.random(8) === 0) return this.#writeNoise(u8, at);
    for (let flips = this.random(4); flips > 0; flips--) {
      const index = at + this.random(Math.min(packet.length, HEADER_BYTES));
      u8[index] = (u8[index] ?? 0) ^ (1 << this.random(8));
    }
    return this.random(6) === 0 ? 1 + this.random(packet.length) : packet.length;
  }

  #writeNoise(u8: Uint8Array, at: number): number {
    const length = 1 + this.random(120);
    for (let index = 0; index < length; index++) u8[at + index] = this.random(256);
    if (this.random(2) === 0) u8[at] = this.random(2) === 0 ? 0x45 : 0x60;
    return length;
  }
}
