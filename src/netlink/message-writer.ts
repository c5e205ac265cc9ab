// Writes netlink messages one after the other into one growing buffer. Pure.
// Supported machines (x64, arm64) are little-endian, and netlink uses host byte order.

export class MessageWriter {
  #bytes = new Uint8Array(16 * 1024);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** What was written; valid until the next write. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
  }

  /** Forgets what was written from `length` on. */
  truncate(length: number): void {
    this.#length = length;
  }

  /** Starts a message and returns its place; sequence and port stay 0 until `stamp`. */
  begin(type: number, flags: number): number {
    const start = this.#length;
    this.u32(0);
    this.u16(type);
    this.u16(flags);
    this.zeros(8);
    return start;
  }

  /** Ends the message that began at `start`. */
  end(start: number): void {
    this.#view.setUint32(start, this.#length - start, true);
  }

  /** Sets the sequence number of the message at `start` and adds flags to it. */
  stamp(start: number, sequence: number, flags: number): void {
    this.#view.setUint16(start + 6, this.#view.getUint16(start + 6, true) | flags, true);
    this.#view.setUint32(start + 8, sequence, true);
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#view.setUint16(this.#length, value, true);
    this.#length += 2;
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
  }

  zeros(count: number): void {
    this.#reserve(count);
    this.#bytes.fill(0, this.#length, this.#length + count);
    this.#length += count;
  }

  u8Attribute(type: number, value: number): void {
    this.#attributeHeader(type, 1);
    this.u8(value);
    this.zeros(3);
  }

  u16Attribute(type: number, value: number): void {
    this.#attributeHeader(type, 2);
    this.u16(value);
    this.zeros(2);
  }

  u32Attribute(type: number, value: number): void {
    this.#attributeHeader(type, 4);
    this.u32(value);
  }

  /** Network byte order. */
  u16BigEndianAttribute(type: number, value: number): void {
    this.#attributeHeader(type, 2);
    this.#reserve(4);
    this.#view.setUint16(this.#length, value, false);
    this.#length += 2;
    this.zeros(2);
  }

  /** Network byte order. */
  u32BigEndianAttribute(type: number, value: number): void {
    this.#attributeHeader(type, 4);
    this.#reserve(4);
    this.#view.setUint32(this.#length, value, false);
    this.#length += 4;
  }

  bytesAttribute(type: number, value: Uint8Array): void {
    this.#attributeHeader(type, value.length);
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
    this.zeros(-value.length & 3);
  }

  /** NUL-terminated. */
  textAttribute(type: number, value: string): void {
    this.bytesAttribute(type, new TextEncoder().encode(`${value}\0`));
  }

  flagAttribute(type: number): void {
    this.#attributeHeader(type, 0);
  }

  /** Starts a nested attribute; what is written before `endNest` goes inside. */
  beginNest(type: number): number {
    const start = this.#length;
    this.#attributeHeader(type, 0);
    return start;
  }

  /** As `beginNest`, marked NLA_F_NESTED, which generic netlink demands (kernel >= 5.2). */
  beginMarkedNest(type: number): number {
    return this.beginNest(type | 0x8000);
  }

  endNest(start: number): void {
    this.#view.setUint16(start, this.#length - start, true);
  }

  #attributeHeader(type: number, payloadBytes: number): void {
    this.u16(4 + payloadBytes);
    this.u16(type);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const grown = new Uint8Array(this.#bytes.length * 2 + count);
    grown.set(this.#bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
