// Packets for tests of the packet path, made and checked by straightforward code of their own (RFC 791, 793, 768, 1071),
// so that it and the product check each other.

export interface PacketOptions {
  readonly source: readonly number[];
  readonly destination: readonly number[];
  readonly protocol: 6 | 17;
  readonly payload: Uint8Array;
  readonly ttl?: number;
  readonly id?: number;
  readonly sequence?: number;
  readonly flags?: number;
  readonly acknowledgement?: number;
  readonly window?: number;
  /** DSCP and ECN. */
  readonly tos?: number;
  /** The four bits behind the length of the TCP header. */
  readonly reserved?: number;
  /** A multiple of 4. */
  readonly tcpOptionBytes?: number;
}

/** RFC 1071 over big-endian words, by the book. */
export function checksumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) + (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x1_0000);
  return ~sum & 0xffff;
}

/** An IPv4 or IPv6 packet (by the length of its addresses) with right checksums. */
export function makePacket(options: PacketOptions): Uint8Array {
  const { source, destination, protocol, payload, ttl = 64, id = 1, sequence = 0, flags = 0x10 } = options;
  const isV6 = source.length === 16;
  const optionBytes = options.tcpOptionBytes ?? 0;
  const tos = options.tos ?? 0;
  const transportBytes = protocol === 6 ? 20 + optionBytes : 8;
  const ipBytes = isV6 ? 40 : 20;
  const bytes = new Uint8Array(ipBytes + transportBytes + payload.length);
  const view = new DataView(bytes.buffer);
  if (isV6) {
    view.setUint32(0, 0x6000_0000 + tos * 0x10_0000);
    view.setUint16(4, transportBytes + payload.length);
    bytes.set([protocol, ttl, ...source, ...destination], 6);
  } else {
    view.setUint16(0, 0x4500 + tos);
    view.setUint16(2, bytes.length);
    view.setUint16(4, id);
    view.setUint16(6, 0x4000);
    bytes.set([ttl, protocol, 0, 0, ...source, ...destination], 8);
    view.setUint16(10, checksumOf(bytes.subarray(0, 20)));
  }
  view.setUint16(ipBytes, 4000);
  view.setUint16(ipBytes + 2, 5000);
  if (protocol === 6) {
    view.setUint32(ipBytes + 4, sequence);
    view.setUint32(ipBytes + 8, options.acknowledgement ?? 77);
    view.setUint8(ipBytes + 12, ((transportBytes / 4) << 4) + (options.reserved ?? 0));
    view.setUint8(ipBytes + 13, flags);
    view.setUint16(ipBytes + 14, options.window ?? 500);
    bytes.fill(1, ipBytes + 20, ipBytes + 20 + optionBytes); // no-operation options
  } else {
    view.setUint16(ipBytes + 4, 8 + payload.length);
  }
  bytes.set(payload, ipBytes + transportBytes);
  view.setUint16(ipBytes + (protocol === 6 ? 16 : 6), transportChecksum(bytes) || 0xffff);
  return bytes;
}

/** The IPv4 packet with four bytes of IP options, or as a first fragment. */
export function reshaped(packet: Uint8Array, shape: "with IP options" | "first fragment"): Uint8Array {
  const hasOptions = shape === "with IP options";
  const options = hasOptions ? [1, 1, 1, 1] : [];
  const bytes = Uint8Array.from([...packet.subarray(0, 20), ...options, ...packet.subarray(20)]);
  const view = new DataView(bytes.buffer);
  if (hasOptions) view.setUint8(0, 0x46);
  else view.setUint16(6, 0x2000);
  view.setUint16(2, bytes.length);
  view.setUint16(10, 0);
  view.setUint16(10, checksumOf(bytes.subarray(0, 20 + options.length)));
  return bytes;
}

/** What the transport checksum has to be when its field is 0, which it is while this is worked out. */
function transportChecksum(packet: Uint8Array): number {
  const isV6 = (packet[0] ?? 0) >> 4 === 6;
  const ipBytes = isV6 ? 40 : ((packet[0] ?? 0) & 15) * 4;
  const transport = packet.slice(ipBytes);
  const protocol = packet[isV6 ? 6 : 9] ?? 0;
  const addresses = isV6 ? packet.subarray(8, 40) : packet.subarray(12, 20);
  const field = protocol === 6 ? 16 : 6;
  transport.fill(0, field, field + 2);
  const length = transport.length;
  return checksumOf(Uint8Array.from([...addresses, 0, protocol, length >> 8, length & 255, ...transport]));
}

/** Why a packet is not valid; undefined when it is. */
export function faultOf(packet: Uint8Array): string | undefined {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const isV6 = (packet[0] ?? 0) >> 4 === 6;
  const ipBytes = isV6 ? 40 : ((packet[0] ?? 0) & 15) * 4;
  if (isV6 ? view.getUint16(4) !== packet.length - 40 : view.getUint16(2) !== packet.length) return "length";
  if (!isV6 && checksumOf(packet.subarray(0, ipBytes)) !== 0) return "IP checksum";
  const isUdp = packet[isV6 ? 6 : 9] === 17;
  if (isUdp && view.getUint16(ipBytes + 4) !== packet.length - ipBytes) return "UDP length";
  const found = view.getUint16(ipBytes + (isUdp ? 6 : 16));
  return found === (transportChecksum(packet) || 0xffff) || found === transportChecksum(packet)
    ? undefined
    : "checksum";
}
