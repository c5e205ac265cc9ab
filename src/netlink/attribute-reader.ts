// Walks the attributes of a netlink message in place. Input is hostile: a length that does not fit ends the walk, a
// payload that is too short reads as undefined. Pure.
import { type Address, addressFromBytes } from "../ip/address.ts";
import { AF_INET, AF_INET6 } from "./uapi.ts";

/** NLA_F_NESTED and NLA_F_NET_BYTEORDER share the field with the type. */
const TYPE_MASK = 0x3fff;

const hexDigits = Uint8Array.from("0123456789abcdef", (digit) => digit.charCodeAt(0));
const COLON = 0x3a;

/** Code of the hexadecimal digit of the upper half of a byte. */
function high(byte: number): number {
  return hexDigits[byte >> 4] ?? 0;
}

function low(byte: number): number {
  return hexDigits[byte & 15] ?? 0;
}

/** Usage: `while (reader.next()) switch (reader.type) { case …: x = reader.u32() }`. */
export class AttributeReader {
  readonly #view: DataView;
  readonly #end: number;
  #next: number;
  #payload = 0;
  #length = 0;
  type = 0;

  /** Reads from `start` up to `end`, both offsets into `view`; `end` may not lie beyond the view. */
  constructor(view: DataView, start: number, end: number) {
    this.#view = view;
    this.#next = start;
    this.#end = end;
  }

  /** Moves to the next attribute. */
  next(): boolean {
    const at = this.#next;
    if (at + 4 > this.#end) return false;
    const length = this.#view.getUint16(at, true);
    if (length < 4 || at + length > this.#end) return false;
    this.type = this.#view.getUint16(at + 2, true) & TYPE_MASK;
    this.#payload = at + 4;
    this.#length = length - 4;
    this.#next = at + ((length + 3) & ~3);
    return true;
  }

  u8(): number | undefined {
    return this.#length < 1 ? undefined : this.#view.getUint8(this.#payload);
  }

  u16(): number | undefined {
    return this.#length < 2 ? undefined : this.#view.getUint16(this.#payload, true);
  }

  u32(): number | undefined {
    return this.#length < 4 ? undefined : this.#view.getUint32(this.#payload, true);
  }

  /** Exact up to 2^53. */
  u64(): number | undefined {
    return this.#length < 8 ? undefined : Number(this.#view.getBigUint64(this.#payload, true));
  }

  u16BigEndian(): number | undefined {
    return this.#length < 2 ? undefined : this.#view.getUint16(this.#payload, false);
  }

  u32BigEndian(): number | undefined {
    return this.#length < 4 ? undefined : this.#view.getUint32(this.#payload, false);
  }

  /** An IPv4 or IPv6 address, by the payload's length. */
  address(): Address | undefined {
    return readAddress(this.#view, this.#payload, this.#length);
  }

  /** RTA_VIA: family (16 bits), then the address. */
  via(): Address | undefined {
    if (this.#length < 2) return undefined;
    const family = this.#view.getUint16(this.#payload, true);
    const bytes = family === AF_INET ? 4 : family === AF_INET6 ? 16 : -1;
    return this.#length - 2 === bytes ? readAddress(this.#view, this.#payload + 2, bytes) : undefined;
  }

  /** Lower case, colons; undefined when it is not an Ethernet address. */
  mac(): string | undefined {
    if (this.#length !== 6) return undefined;
    const view = this.#view;
    const at = this.#payload;
    const [a, b, c] = [view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2)];
    const [d, e, f] = [view.getUint8(at + 3), view.getUint8(at + 4), view.getUint8(at + 5)];
    // All at once: a text put together from parts costs several times as much when it is looked up.
    // biome-ignore format: one byte a line
    return String.fromCharCode(
      high(a), low(a), COLON,
      high(b), low(b), COLON,
      high(c), low(c), COLON,
      high(d), low(d), COLON,
      high(e), low(e), COLON,
      high(f), low(f),
    );
  }

  /** Up to the first NUL. */
  text(): string {
    return readText(this.#view, this.#payload, this.#payload + this.#length);
  }

  /** A copy of the payload. */
  bytes(): Uint8Array {
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.#payload, this.#length).slice();
  }

  /** Where the payload lies in the view: from, to. */
  bounds(): readonly [start: number, end: number] {
    return [this.#payload, this.#payload + this.#length];
  }

  /** The attributes inside this one. */
  nested(): AttributeReader {
    return new AttributeReader(this.#view, this.#payload, this.#payload + this.#length);
  }
}

const utf8 = new TextDecoder();

/** Up to the first NUL between two offsets into the view. */
export function readText(view: DataView, start: number, end: number): string {
  let text = "";
  for (let at = start; at < end; at++) {
    const byte = view.getUint8(at);
    if (byte === 0) return text;
    if (byte >= 0x80) return readUnicode(view, start, end);
    // Names of expressions and objects are short: a decoder costs ten times as much.
    text += String.fromCharCode(byte);
  }
  return text;
}

function readUnicode(view: DataView, start: number, end: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + start, end - start);
  const nul = bytes.indexOf(0);
  return utf8.decode(nul < 0 ? bytes : bytes.subarray(0, nul));
}

function readAddress(view: DataView, at: number, length: number): Address | undefined {
  if (length !== 4 && length !== 16) return undefined;
  return addressFromBytes(new Uint8Array(view.buffer, view.byteOffset + at, length));
}
