// A key with its value as it lies in the database: encoded once, when it is written, as the field that answers to Range
// and events of a watch both hold it in. So neither has to be put together key by key. Pure.
import { type KeyValue, RangeResponse, ResponseHeader } from "../../etcd-api/etcd.ts";

/** Field number and wire type, as protobuf writes them. */
const tags = {
  header: 0x0a,
  more: 0x18,
  count: 0x20,
  // Of the field in RangeResponse and in Event.
  keyValue: 0x12,
  // Of the fields in a KeyValue.
  key: 0x0a,
  createRevision: 0x10,
  modRevision: 0x18,
  version: 0x20,
  value: 0x2a,
  lease: 0x30,
  // Of WatchResponse's events, and of the fields in an Event.
  event: 0x5a,
  eventType: 0x08,
  previous: 0x1a,
} as const;

const DELETE = 1;
/** The longest a number gets. */
const MAX_VARINT_BYTES = 10;

/** The key-value as a field: tag, length, message. Several of them one after the other are a RangeResponse. */
export function frameKeyValue(kv: KeyValue): Uint8Array {
  const length = lengthOf(kv);
  const writer = new Writer(1 + varintLength(length) + length);
  writer.lengthOf(tags.keyValue, length);
  if (kv.key.length > 0) writer.bytes(tags.key, kv.key);
  writer.number(tags.createRevision, kv.createRevision);
  writer.number(tags.modRevision, kv.modRevision);
  writer.number(tags.version, kv.version);
  if (kv.value.length > 0) writer.bytes(tags.value, kv.value);
  writer.number(tags.lease, kv.lease);
  return writer.written;
}

/** The key-values of frames that lie one after the other; they keep the memory of `frames`. */
export function unframeKeyValues(frames: Uint8Array): KeyValue[] {
  return RangeResponse.decode(frames).kvs;
}

/** A whole answer to Range; `frames` lie one after the other. */
export function encodeRangeResponse(answer: {
  readonly header: ResponseHeader;
  readonly frames: Uint8Array;
  readonly more: boolean;
  readonly count: bigint;
}): Uint8Array {
  const header = ResponseHeader.encode(answer.header).finish();
  const writer = new Writer(header.length + answer.frames.length + 4 * MAX_VARINT_BYTES);
  writer.bytes(tags.header, header);
  writer.raw(answer.frames);
  if (answer.more) writer.number(tags.more, 1n);
  writer.number(tags.count, answer.count);
  return writer.written;
}

/** The beginning of an answer to Range; frames follow, then `encodeRangeTail`. */
export function encodeRangeHead(header: ResponseHeader): Uint8Array {
  const encoded = ResponseHeader.encode(header).finish();
  const writer = new Writer(encoded.length + MAX_VARINT_BYTES);
  writer.bytes(tags.header, encoded);
  return writer.written;
}

export function encodeRangeTail(more: boolean, count: bigint): Uint8Array {
  const writer = new Writer(3 * MAX_VARINT_BYTES);
  if (more) writer.number(tags.more, 1n);
  writer.number(tags.count, count);
  return writer.written;
}

/** A key that was written, as an event in a WatchResponse; `previous` is the frame of what stood there before. */
export function encodePutEvent(frame: Uint8Array, previous: Uint8Array | undefined): Uint8Array {
  const length = frame.length + (previous?.length ?? 0);
  const writer = new Writer(1 + MAX_VARINT_BYTES + length);
  writer.lengthOf(tags.event, length);
  writer.raw(frame);
  writer.previous(previous);
  return writer.written;
}

/** A key that was deleted, as an event in a WatchResponse. */
export function encodeDeleteEvent(key: Uint8Array, revision: bigint, previous: Uint8Array | undefined): Uint8Array {
  const nothing = new Uint8Array(0);
  const frame = frameKeyValue({
    key,
    createRevision: 0n,
    modRevision: revision,
    version: 0n,
    value: nothing,
    lease: 0n,
  });
  const length = 2 + frame.length + (previous?.length ?? 0);
  const writer = new Writer(1 + MAX_VARINT_BYTES + length);
  writer.lengthOf(tags.event, length);
  writer.number(tags.eventType, BigInt(DELETE));
  writer.raw(frame);
  writer.previous(previous);
  return writer.written;
}

class Writer {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(room: number) {
    this.#buffer = Buffer.allocUnsafe(room);
  }

  get written(): Uint8Array {
    return this.#buffer.subarray(0, this.#at);
  }

  lengthOf(tag: number, length: number): void {
    this.#buffer[this.#at++] = tag;
    this.#varint(length);
  }

  bytes(tag: number, content: Uint8Array): void {
    this.lengthOf(tag, content.length);
    this.raw(content);
  }

  raw(content: Uint8Array): void {
    this.#buffer.set(content, this.#at);
    this.#at += content.length;
  }

  /** The frame with the tag of another field. */
  previous(frame: Uint8Array | undefined): void {
    if (frame === undefined) return;
    this.#buffer[this.#at] = tags.previous;
    this.#buffer.set(frame.subarray(1), this.#at + 1);
    this.#at += frame.length;
  }

  /** Zero is not written. Negative numbers take ten bytes, as protobuf's int64. */
  number(tag: number, value: bigint): void {
    if (value === 0n) return;
    this.#buffer[this.#at++] = tag;
    if (value >= 0n && value <= Number.MAX_SAFE_INTEGER) this.#varint(Number(value));
    else this.#longVarint(BigInt.asUintN(64, value));
  }

  #varint(value: number): void {
    let rest = value;
    while (rest > 0x7f) {
      this.#buffer[this.#at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#at++] = rest;
  }

  #longVarint(value: bigint): void {
    let rest = value;
    while (rest > 0x7fn) {
      this.#buffer[this.#at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#buffer[this.#at++] = Number(rest);
  }
}

function lengthOf({ key, createRevision, modRevision, version, value, lease }: KeyValue): number {
  return (
    bytesLength(key) +
    numberLength(createRevision) +
    numberLength(modRevision) +
    numberLength(version) +
    bytesLength(value) +
    numberLength(lease)
  );
}

function bytesLength({ length }: Uint8Array): number {
  return length === 0 ? 0 : 1 + varintLength(length) + length;
}

function numberLength(value: bigint): number {
  if (value === 0n) return 0;
  if (value < 0n) return 1 + MAX_VARINT_BYTES;
  if (value <= Number.MAX_SAFE_INTEGER) return 1 + varintLength(Number(value));
  return 1 + Math.ceil(value.toString(2).length / 7);
}

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 0x80)) length++;
  return length;
}
