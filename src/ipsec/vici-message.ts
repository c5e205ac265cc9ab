// VICI, the protocol of strongSwan's daemon charon on its control socket: messages as trees of sections, lists and texts.
// Pure. Source: the description of strongSwan's plugin vici. What comes in is hostile.
import { FlannelError } from "../errors.ts";

export type ViciValue = string | readonly string[] | ViciSection;
/** Names in the order of the message; of equal ones the last counts. */
export type ViciSection = ReadonlyMap<string, ViciValue>;

/** What a caller writes: undefined values are left out. */
export interface ViciFields {
  readonly [name: string]: string | readonly string[] | ViciFields | undefined;
}

const element = { sectionStart: 1, sectionEnd: 2, keyValue: 3, listStart: 4, listItem: 5, listEnd: 6 } as const;
const MAX_NAME_BYTES = 255;
const MAX_VALUE_BYTES = 65_535;
/** Deeper than anything that charon sends: connections, children, their lists are four. */
const MAX_DEPTH = 16;

const utf8 = new TextEncoder();
const text = new TextDecoder();

/** Throws a RangeError for a name or value that is too long. */
export function encodeMessage(fields: ViciFields): Uint8Array {
  const parts: Uint8Array[] = [];
  writeFields(fields, parts);
  return concatenate(parts);
}

function writeFields(fields: ViciFields, parts: Uint8Array[]): void {
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    if (typeof value === "string") {
      parts.push(named(element.keyValue, name), lengthPrefixed(value));
    } else if (isList(value)) {
      parts.push(named(element.listStart, name));
      for (const item of value) parts.push(Uint8Array.of(element.listItem), lengthPrefixed(item));
      parts.push(Uint8Array.of(element.listEnd));
    } else {
      parts.push(named(element.sectionStart, name));
      writeFields(value, parts);
      parts.push(Uint8Array.of(element.sectionEnd));
    }
  }
}

function isList(value: readonly string[] | ViciFields): value is readonly string[] {
  return Array.isArray(value);
}

function named(type: number, name: string): Uint8Array {
  const bytes = utf8.encode(name);
  if (bytes.length > MAX_NAME_BYTES) throw new RangeError(`a name of ${bytes.length} bytes is too long for VICI`);
  return concatenate([Uint8Array.of(type, bytes.length), bytes]);
}

/** The value itself is in no message: it may be a secret. */
function lengthPrefixed(value: string): Uint8Array {
  const bytes = utf8.encode(value);
  if (bytes.length > MAX_VALUE_BYTES) throw new RangeError(`a value of ${bytes.length} bytes is too long for VICI`);
  return concatenate([Uint8Array.of(bytes.length >> 8, bytes.length & 255), bytes]);
}

export function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Throws `KERNEL_REJECTED` for anything that is no whole message. */
export function decodeMessage(bytes: Uint8Array): ViciSection {
  const reader = new MessageReader(bytes);
  const root = readSection(reader, 0);
  return root;
}

function readSection(reader: MessageReader, depth: number): ViciSection {
  if (depth > MAX_DEPTH) throw malformed(`more than ${MAX_DEPTH} sections in one another`);
  const section = new Map<string, ViciValue>();
  for (;;) {
    if (reader.isAtEnd) {
      if (depth > 0) throw malformed("a section does not end");
      return section;
    }
    const type = reader.byte();
    if (type === element.sectionEnd) {
      if (depth === 0) throw malformed("a section ends that did not begin");
      return section;
    }
    // A name first, whatever it is of.
    if (!hasName.has(type)) throw malformed(`element ${type} where a name is due`);
    section.set(reader.name(), readNamed(reader, type, depth));
  }
}

const hasName: ReadonlySet<number> = new Set([element.keyValue, element.listStart, element.sectionStart]);

function readNamed(reader: MessageReader, type: number, depth: number): ViciValue {
  if (type === element.keyValue) return reader.value();
  return type === element.listStart ? readList(reader) : readSection(reader, depth + 1);
}

function readList(reader: MessageReader): readonly string[] {
  const items: string[] = [];
  for (;;) {
    const type = reader.byte();
    if (type === element.listEnd) return items;
    if (type !== element.listItem) throw malformed(`element ${type} in a list`);
    items.push(reader.value());
  }
}

class MessageReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw malformed("it is cut off");
    this.#at++;
    return byte;
  }

  name(): string {
    return this.#text(this.byte());
  }

  value(): string {
    const high = this.byte();
    return this.#text((high << 8) | this.byte());
  }

  #text(length: number): string {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw malformed("it is cut off");
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return text.decode(bytes);
  }
}

export function malformed(what: string): FlannelError {
  return new FlannelError("KERNEL_REJECTED", `charon's message cannot be read: ${what}`, { retryable: true });
}

/** The text of that name; undefined when it is missing or no text. */
export function textOf(section: ViciSection, name: string): string | undefined {
  const value = section.get(name);
  return typeof value === "string" ? value : undefined;
}

/** The list of that name; empty when it is missing or no list. */
export function listOf(section: ViciSection, name: string): readonly string[] {
  const value = section.get(name);
  return Array.isArray(value) ? value : [];
}

/** The sections inside the one of that name, or inside this one, by name. */
export function sectionsOf(section: ViciSection, name?: string): readonly (readonly [string, ViciSection])[] {
  const inside = name === undefined ? section : section.get(name);
  if (!(inside instanceof Map)) return [];
  return [...inside].flatMap(([key, value]) => (value instanceof Map ? [[key, value] as const] : []));
}
