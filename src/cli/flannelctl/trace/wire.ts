// What was seen of the test packets on the devices of this host: which of them, inside of what, where and in which direction. Pure;
// what is looked at was written by others.
import { type Address, addressFromBytes, type Family } from "../../../ip/address.ts";
import type { TappedPacket } from "../../../sys/packet-tap.ts";

/** Test packets, as they are distinguished from all others. */
export interface TestPackets {
  readonly family: Family;
  /** 16 unpredictable bytes; the number of the packet follows. */
  readonly token: Uint8Array;
  /** Between the ICMP header and the token. */
  readonly tokenOffset: number;
  /** Of the whole IP packet. */
  readonly packetBytes: number;
  /** Of the peer's host, where they go to inside of others. */
  readonly outside?: Address;
}

export interface WirePoint {
  readonly device: string;
  readonly direction: "out" | "in";
  readonly packet: "request" | "reply";
  /** `inside`: in the packet of a tunnel; `encrypted`: one of the right size and ends, whose content nobody can see. */
  readonly form: "plain" | "inside" | "encrypted";
  /** What goes around it: `UDP 51234 > 8472`. */
  readonly around?: string;
  /** Of the packet as it was seen. */
  readonly packetBytes: number;
  /** Different test packets; of encrypted ones just packets. */
  readonly seen: number;
}

const ICMP_HEADER_BYTES = 8;
const requestTypes: ReadonlySet<number> = new Set([8, 128]);
const replyTypes: ReadonlySet<number> = new Set([0, 129]);
const TOKEN_BYTES = 16;

/** One point for each device, direction and form, in the order in which they were first seen. */
export function wirePoints(
  packets: readonly TappedPacket[],
  test: TestPackets,
  nameOf: (index: number) => string,
): WirePoint[] {
  const points = new Map<string, { readonly point: Omit<WirePoint, "seen">; readonly numbers: Set<number> }>();
  for (const [at, packet] of packets.entries()) {
    const read = readPacket(packet, test);
    if (read === undefined) continue;
    const { number = at, ...known } = read;
    const direction = packet.isOutgoing ? "out" : "in";
    const device = nameOf(packet.deviceIndex);
    const key = [device, direction, known.packet, known.form].join(" ");
    const found = points.get(key);
    if (found !== undefined) found.numbers.add(number);
    else {
      const point = { device, direction, ...known, packetBytes: packet.packetBytes } as const;
      points.set(key, { point, numbers: new Set([number]) });
    }
  }
  return [...points.values()].map(({ point, numbers }) => ({ ...point, seen: numbers.size }));
}

export function isTestPacket(packet: TappedPacket, test: TestPackets): boolean {
  return readPacket(packet, test) !== undefined;
}

type Read = Pick<WirePoint, "packet" | "form" | "around"> & { readonly number?: number };

function readPacket({ bytes, packetBytes }: TappedPacket, test: TestPackets): Read | undefined {
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(test.token);
  if (at < 0) return readEncrypted(bytes, packetBytes, test);
  const type = bytes[at - test.tokenOffset - ICMP_HEADER_BYTES] ?? -1;
  const packet = requestTypes.has(type) ? "request" : replyTypes.has(type) ? "reply" : undefined;
  if (packet === undefined) return undefined;
  const number = bytes[at + TOKEN_BYTES] ?? 0;
  if (packetBytes === test.packetBytes) return { packet, form: "plain", number };
  // An error that quotes one is no way of it.
  if ([1, 58].includes(endsOf(bytes)?.protocol ?? 1)) return undefined;
  return { packet, form: "inside", number, ...aroundOf(bytes) };
}

function readEncrypted(bytes: Uint8Array, packetBytes: number, test: TestPackets): Read | undefined {
  const ends = endsOf(bytes);
  if (test.outside === undefined || ends === undefined || packetBytes === test.packetBytes) return undefined;
  if (![50, 17].includes(ends.protocol)) return undefined;
  const packet = ends.destination === test.outside ? "request" : ends.source === test.outside ? "reply" : undefined;
  return packet === undefined ? undefined : { packet, form: "encrypted", ...aroundOf(bytes) };
}

interface PacketEnds {
  readonly source: Address;
  readonly destination: Address;
  readonly protocol: number;
  readonly headerBytes: number;
}

/** Undefined for what is no IP packet. */
export function endsOf(bytes: Uint8Array): PacketEnds | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4 && bytes.length >= 20) {
    return {
      source: addressFromBytes(bytes.subarray(12, 16)),
      destination: addressFromBytes(bytes.subarray(16, 20)),
      protocol: bytes[9] ?? 0,
      headerBytes: ((bytes[0] ?? 0) & 0xf) * 4,
    };
  }
  if (version === 6 && bytes.length >= 40) {
    return {
      source: addressFromBytes(bytes.subarray(8, 24)),
      destination: addressFromBytes(bytes.subarray(24, 40)),
      protocol: bytes[6] ?? 0,
      headerBytes: 40,
    };
  }
  return undefined;
}

const names: Readonly<Record<number, string>> = { 4: "IP in IP", 41: "IPv6 in IP", 47: "GRE", 50: "ESP" };

function aroundOf(bytes: Uint8Array): { readonly around?: string } {
  const ends = endsOf(bytes);
  if (ends === undefined) return {};
  const { protocol, headerBytes } = ends;
  if (protocol !== 17 || bytes.length < headerBytes + 4) {
    return { around: names[protocol] ?? `protocol ${protocol}` };
  }
  const port = (at: number): number => ((bytes[headerBytes + at] ?? 0) << 8) | (bytes[headerBytes + at + 1] ?? 0);
  return { around: `UDP ${port(0)} > ${port(2)}` };
}

/** Sizes of packets around one of `innerBytes`: vxlan, udp, IP in IP over either family, and those that are encrypted. */
export function sizesAround(innerBytes: number, carriedBy: string | undefined): number[] {
  const around = (overhead: number) => [innerBytes + 20 + overhead, innerBytes + 40 + overhead];
  const padded = (unit: number, tail = 0) => Math.ceil((innerBytes + tail) / unit) * unit;
  switch (carriedBy) {
    case "vxlan":
      return around(30);
    case "udp":
      return around(8);
    case "ipip":
      return around(0);
    case "wireguard":
      // WireGuard, 5.4.6: 16 bytes before, 16 behind, padded to 16.
      return [20, 40].map((header) => header + 8 + 32 + padded(16));
    case "ipsec":
      // RFC 4303 and 4106: AES-GCM, with and without UDP around.
      return [20, 40].flatMap((header) => [0, 8].map((udp) => header + udp + 8 + 8 + padded(4, 2) + 16));
    default:
      return [];
  }
}
