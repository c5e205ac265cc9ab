// Walks the attributes of a netlink message in place. Input is hostile: a length that does not fit ends the walk, a
// payload that is too short reads as undefined. Pure.
import { type Address, addressFromBytes } from "../ip/address.ts";
import { AF_INET, AF_INET6 } from "./uapi.ts";

/** NLA_F_NESTED and NLA_F_NET_BYTEORDER share the field with the type. */
const TYPE_MASK = 0x3fff;

const hexPairs: readonly string[] = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, "0"));

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

  u32(): number | undefined {
    return this.#length < 4 ? undefined : this.#view.getUint32(this.#payload, true);
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
    let text = "";
    for (let i = 0; i < 6; i++) {
      text += (i === 0 ? "" : ":") + (hexPairs[this.#view.getUint8(this.#payload + i)] ?? "");
    }
    return text;
  }

  /** Up to the first NUL. */
  text(): string {
    const bytes = new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.#payload, this.#length);
    const nul = bytes.indexOf(0);
    return new TextDecoder().decode(nul < 0 ? bytes : bytes.subarray(0, nul));
  }

  /** The attributes inside this one. */
  nested(): AttributeReader {
    return new AttributeReader(this.#view, this.#payload, this.#payload + this.#length);
  }
}

function readAddress(view: DataView, at: number, length: number): Address | undefined {
  if (length !== 4 && length !== 16) return undefined;
  return addressFromBytes(new Uint8Array(view.buffer, view.byteOffset + at, length));
}
