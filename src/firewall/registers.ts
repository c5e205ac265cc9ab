// The registers of nf_tables while a rule looks at a packet of which not every byte is known, and which share of the packets that
// it stands for compares as a rule wants. Pure.
import type { AddressRange, AddressSet } from "./address-set.ts";
import type { TestPacket } from "./hook-packets.ts";
import { type AddressSide, type Cell, DESTINATION, SOURCE, UNKNOWN } from "./packet-view.ts";

/** Of the packets that one stands for: 1 all, 0 none; undefined: nobody knows. */
export type Share = number | undefined;

const FILE_BYTES = 64;
const WORD_BYTES = 4;

export function both(a: Share, b: Share): Share {
  if (a === 0 || b === 0) return 0;
  return a === undefined || b === undefined ? undefined : a * b;
}

export function others(share: Share): Share {
  return share === undefined ? undefined : 1 - share;
}

/** To which addresses a comparison that holds for some limits the packet; "several": not to one range. */
export type Limit = { readonly side: AddressSide; readonly range: AddressRange } | "several" | undefined;

export class Registers {
  readonly #cells = new Int16Array(FILE_BYTES).fill(UNKNOWN);
  readonly #masks = new Uint8Array(FILE_BYTES).fill(0xff);
  #addresses: Pick<TestPacket, "source" | "destination"> = { source: undefined, destination: undefined };
  limit: Limit;

  /** Before a rule looks at the packet. */
  reset(packet: TestPacket): void {
    this.#addresses = packet;
    this.limit = undefined;
  }

  forget(): void {
    this.#cells.fill(UNKNOWN);
  }

  /** Fills up the last word with zeros, as the kernel does. */
  load(register: number, length: number, cellAt: (byte: number) => Cell): void {
    const end = Math.min(register + Math.ceil(length / WORD_BYTES) * WORD_BYTES, FILE_BYTES);
    for (let at = register; at < end; at++) {
      const byte = at - register;
      this.#cells[at] = byte < length ? cellAt(byte) : 0;
      this.#masks[at] = 0xff;
    }
  }

  /** Undefined: not known, of unknown length. */
  loadCells(register: number, cells: readonly Cell[] | undefined): void {
    // Nothing that is known to be longer than a register of 16 bytes is compared.
    const length = cells === undefined ? 16 : Math.ceil(cells.length / WORD_BYTES) * WORD_BYTES;
    const end = Math.min(register + length, FILE_BYTES);
    for (let at = register; at < end; at++) {
      this.#cells[at] = cells === undefined ? UNKNOWN : (cells[at - register] ?? 0);
      this.#masks[at] = 0xff;
    }
  }

  bitwise(source: number, register: number, mask: Uint8Array, xor: Uint8Array): void {
    for (let byte = 0; byte < mask.length && register + byte < FILE_BYTES; byte++) {
      const [kept = 0, flipped = 0] = [mask[byte], xor[byte]];
      const cell = this.#cells[source + byte] ?? UNKNOWN;
      const oldMask = this.#masks[source + byte] ?? 0xff;
      const at = register + byte;
      this.#masks[at] = 0xff;
      if (cell >= 0) this.#cells[at] = (cell & kept) ^ flipped;
      else if (kept === 0) this.#cells[at] = flipped;
      else if (cell === UNKNOWN || flipped !== 0) this.#cells[at] = UNKNOWN;
      else {
        this.#cells[at] = cell;
        this.#masks[at] = oldMask & kept;
      }
    }
  }

  /** A number in host byte order; undefined: not known. */
  number(register: number): number | undefined {
    let value = 0;
    for (let byte = 3; byte >= 0; byte--) {
      const cell = this.#cells[register + byte] ?? UNKNOWN;
      if (cell < 0) return undefined;
      value = value * 256 + cell;
    }
    return value;
  }

  equals(register: number, value: Uint8Array): Share {
    let share: Share = 1;
    for (let byte = 0; byte < value.length; ) {
      const cell = this.#cells[register + byte] ?? UNKNOWN;
      if (cell >= 0) {
        if (cell !== value[byte]) return 0;
        byte++;
      } else if (cell === UNKNOWN) {
        share = undefined;
        byte++;
      } else {
        const length = this.#addressBytes(register + byte, value.length - byte);
        share = both(share, this.#equalsAddress(register + byte, value.subarray(byte, byte + length)));
        if (share === 0) return 0;
        byte += length;
      }
    }
    return share;
  }

  /** Both ends included; of several fields, each is compared by itself. */
  isWithin(register: number, from: Uint8Array, to: Uint8Array): Share {
    let share: Share = 1;
    for (let byte = 0; byte < from.length && share !== 0; ) {
      const isAddress = (this.#cells[register + byte] ?? UNKNOWN) < UNKNOWN;
      const left = from.length - byte;
      const length = isAddress ? this.#addressBytes(register + byte, left) : Math.min(left, WORD_BYTES);
      const [first, last] = [from.subarray(byte, byte + length), to.subarray(byte, byte + length)];
      share = both(share, this.#isPartWithin(register + byte, first, last, isAddress));
      byte += length;
    }
    return share;
  }

  /** Which share is in the set of addresses; undefined when the register holds no whole address. */
  isInSet(register: number, length: number, set: AddressSet): Share {
    const packet = this.#addressAt(register);
    if (packet === undefined || this.#addressBytes(register, length) !== length) return undefined;
    for (let at = register; at < register + length; at++) if (this.#masks[at] !== 0xff) return undefined;
    if ((length === 4 ? 4 : 6) !== set.family) return undefined;
    const share = packet.addresses.shareInSet(set);
    if (share > 0 && share < 1) this.limit = "several";
    return share;
  }

  #isPartWithin(at: number, from: Uint8Array, to: Uint8Array, isAddress: boolean): Share {
    if (Buffer.compare(from, to) === 0) return this.equals(at, from);
    if (isAddress) return this.#isAddressWithin(at, from, to);
    const value = this.#known(at, from.length);
    if (value === undefined) return undefined;
    return Buffer.compare(from, value) <= 0 && Buffer.compare(value, to) <= 0 ? 1 : 0;
  }

  #isAddressWithin(at: number, from: Uint8Array, to: Uint8Array): Share {
    const packet = this.#addressAt(at);
    if (packet === undefined || from.length !== (packet.addresses.family === 4 ? 4 : 16)) return undefined;
    for (let byte = 0; byte < from.length; byte++) if (this.#masks[at + byte] !== 0xff) return undefined;
    return this.#limited(packet, [numberOf(from), numberOf(to)]);
  }

  /** Undefined unless all bytes are known. */
  #known(at: number, length: number): Uint8Array | undefined {
    const value = new Uint8Array(length);
    for (let byte = 0; byte < length; byte++) {
      const cell = this.#cells[at + byte] ?? UNKNOWN;
      if (cell < 0) return undefined;
      value[byte] = cell;
    }
    return value;
  }

  /** How many bytes from `at` on are of one address, in their order. */
  #addressBytes(at: number, max: number): number {
    const first = this.#cells[at] ?? UNKNOWN;
    const end = first <= DESTINATION ? DESTINATION - 15 : SOURCE - 15;
    let length = 1;
    while (length < max && first - length >= end && this.#cells[at + length] === first - length) length++;
    return length;
  }

  /** Undefined unless the address begins at `at`. */
  #addressAt(at: number): { readonly side: AddressSide; readonly addresses: AddressSet } | undefined {
    const cell = this.#cells[at];
    const side = cell === SOURCE ? "source" : cell === DESTINATION ? "destination" : undefined;
    const addresses = side === undefined ? undefined : this.#addresses[side];
    return side === undefined || addresses === undefined ? undefined : { side, addresses };
  }

  /** A prefix of the address is compared: its bytes, of which the last one may be masked. */
  #equalsAddress(at: number, value: Uint8Array): Share {
    const packet = this.#addressAt(at);
    if (packet === undefined) return undefined;
    let bits = 0;
    for (let byte = 0; byte < value.length; byte++) {
      const mask = this.#masks[at + byte] ?? 0;
      if (((value[byte] ?? 0) & ~mask) !== 0) return 0;
      const ones = Math.clz32(~(mask << 24));
      if (((mask << ones) & 0xff) !== 0 || (ones < 8 && byte < value.length - 1)) return undefined;
      bits += ones;
    }
    const free = BigInt((packet.addresses.family === 4 ? 32 : 128) - bits);
    const first = (numberOf(value) >> BigInt(value.length * 8 - bits)) << free;
    return this.#limited(packet, [first, first | ((1n << free) - 1n)]);
  }

  #limited(packet: { readonly side: AddressSide; readonly addresses: AddressSet }, range: AddressRange): number {
    const share = packet.addresses.shareIn(range);
    if (share > 0 && share < 1) this.limit = this.limit === undefined ? { side: packet.side, range } : "several";
    return share;
  }
}

export function numberOf(bytes: Uint8Array): bigint {
  let value = 0n;
  if (bytes.length <= 4) {
    let small = 0;
    for (const byte of bytes) small = small * 256 + byte;
    return BigInt(small);
  }
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}
