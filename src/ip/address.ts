// IP addresses and prefixes as canonical text: comparable with ===, usable as map keys, printable as they are.
// Pure. Arithmetic goes through bigint; the codec goes through bytes.

declare const addressBrand: unique symbol;
declare const prefixBrand: unique symbol;

/** Canonical text of an IPv4 or IPv6 address (RFC 5952 for IPv6, no zone, lower case). */
export type Address = string & { readonly [addressBrand]: true };
/** Canonical `address/length`. Host bits may be set (an interface address); `networkOf` clears them. */
export type Prefix = string & { readonly [prefixBrand]: true };
export type Family = 4 | 6;

export function familyOf(value: Address | Prefix): Family {
  return value.includes(":") ? 6 : 4;
}

/** 32 or 128. */
export function addressBits(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** Parses an IPv4 or IPv6 address; undefined for anything else (zones, leading zeros, spaces). */
export function tryParseAddress(text: string): Address | undefined {
  if (text.includes(":")) {
    const groups = parseGroups(text);
    return groups === undefined ? undefined : formatGroups(groups);
  }
  return parseDotted(text) === undefined ? undefined : (text as Address);
}

/** Like `tryParseAddress`, but throws a RangeError with the text in it. */
export function parseAddress(text: string): Address {
  const address = tryParseAddress(text);
  if (address === undefined) throw new RangeError(`${JSON.stringify(text)} is not an IP address`);
  return address;
}

/** Parses `address/length`, keeping host bits; undefined for anything else. */
export function tryParsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const address = tryParseAddress(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (address === undefined || !/^(0|[1-9]\d{0,2})$/.test(lengthText)) return undefined;
  const length = Number(lengthText);
  return length > addressBits(familyOf(address)) ? undefined : makePrefix(address, length);
}

export function parsePrefix(text: string): Prefix {
  const prefix = tryParsePrefix(text);
  if (prefix === undefined) throw new RangeError(`${JSON.stringify(text)} is not a prefix (address/length)`);
  return prefix;
}

/** `length` must fit the family; not checked. */
export function makePrefix(address: Address, length: number): Prefix {
  return `${address}/${length}` as Prefix;
}

export function prefixAddress(prefix: Prefix): Address {
  return prefix.slice(0, prefix.indexOf("/")) as Address;
}

export function prefixLength(prefix: Prefix): number {
  return Number(prefix.slice(prefix.indexOf("/") + 1));
}

/** Network byte order; 4 or 16 bytes. */
export function addressToBytes(address: Address): Uint8Array {
  const dotted = parseDotted(address);
  if (dotted !== undefined) return Uint8Array.of(dotted >>> 24, dotted >>> 16, dotted >>> 8, dotted);
  const groups = parseGroups(address);
  if (groups === undefined) throw new RangeError(`${JSON.stringify(address)} is not an IP address`);
  const bytes = new Uint8Array(16);
  groups.forEach((group, index) => {
    bytes[index * 2] = group >> 8;
    bytes[index * 2 + 1] = group & 0xff;
  });
  return bytes;
}

/** Reads 4 or 16 bytes in network byte order; throws a RangeError on any other length. */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}` as Address;
  if (bytes.length !== 16) throw new RangeError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0));
  return formatGroups(groups);
}

export function addressToBigInt(address: Address): bigint {
  const dotted = parseDotted(address);
  if (dotted !== undefined) return BigInt(dotted >>> 0);
  return (parseGroups(address) ?? []).reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

/** Value is taken modulo 2^32 or 2^128. */
export function addressFromBigInt(value: bigint, family: Family): Address {
  if (family === 4) {
    const v = Number(BigInt.asUintN(32, value));
    return `${v >>> 24}.${(v >>> 16) & 255}.${(v >>> 8) & 255}.${v & 255}` as Address;
  }
  const groups: number[] = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) groups.push(Number((value >> shift) & 0xffffn));
  return formatGroups(groups);
}

/** 32-bit value of dotted text (signed), undefined when it is not exactly four decimal octets. */
function parseDotted(text: string): number | undefined {
  let value = 0;
  let start = 0;
  for (let octets = 0; octets < 4; octets++) {
    const end = octets === 3 ? text.length : text.indexOf(".", start);
    const octet = parseOctet(text, start, end);
    if (octet < 0) return undefined;
    value = (value << 8) | octet;
    start = end + 1;
  }
  return value;
}

/** Of the text from `start` up to `end`; -1 when it is no decimal octet. */
function parseOctet(text: string, start: number, end: number): number {
  const digits = end - start;
  if (digits < 1 || digits > 3) return -1;
  // A leading zero would be octal to some and decimal to others.
  if (digits > 1 && text.charCodeAt(start) === 48) return -1;
  let octet = 0;
  for (let at = start; at < end; at++) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return -1;
    octet = octet * 10 + digit;
  }
  return octet > 255 ? -1 : octet;
}

/** Eight 16-bit groups of IPv6 text, undefined when it is not valid. Accepts a dotted tail (RFC 4291 2.2). */
function parseGroups(text: string): number[] | undefined {
  if (text.length > 45) return undefined;
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = parseGroupList(halves[0] ?? "", halves.length === 1);
  const tail = halves.length === 2 ? parseGroupList(halves[1] ?? "", true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  return [...head, ...new Array<number>(missing).fill(0), ...tail];
}

function parseGroupList(text: string, allowDottedTail: boolean): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    if (part.includes(".")) {
      const dotted = allowDottedTail && index === parts.length - 1 ? parseDotted(part) : undefined;
      if (dotted === undefined) return undefined;
      groups.push((dotted >>> 16) & 0xffff, dotted & 0xffff);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return groups;
}

/** RFC 5952: longest run of two or more zero groups becomes `::`, the first of equals; ::ffff:0:0/96 is dotted as Go and glibc print it. */
function formatGroups(groups: readonly number[]): Address {
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    const [high, low] = [groups[6] ?? 0, groups[7] ?? 0];
    return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}` as Address;
  }
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > bestLength) [bestStart, bestLength] = [start, end - start];
    if (end > start) start = end - 1;
  }
  const hex = groups.map((group) => group.toString(16));
  if (bestStart < 0) return hex.join(":") as Address;
  return `${hex.slice(0, bestStart).join(":")}::${hex.slice(bestStart + bestLength).join(":")}` as Address;
}
