// One echo request in the memory of an echo socket: message, address, and where it is to come from.
import { type Address, addressToBytes, type Family } from "../ip/address.ts";
import { internetChecksum } from "../ip/internet-checksum.ts";
import { echoTypes } from "./echo-filter.ts";
import { type EchoMemory, HEAD_BYTES, MAX_PADDING_BYTES, NAME_BYTES } from "./echo-memory.ts";
import { AF_INET, AF_INET6 } from "./socket-address.ts";

// linux/in.h, in6.h, socket.h
export const IPPROTO_IP = 0;
export const IPPROTO_IPV6 = 41;
const IP_PKTINFO = 8;
const IPV6_PKTINFO = 50;
export const CMSG_HEADER_BYTES = 16;
export const ICMP_HEADER_BYTES = 8;

/** Of the payload of each message; what a message has beyond is zeros. */
export const ECHO_PAYLOAD_BYTES = HEAD_BYTES - ICMP_HEADER_BYTES;
/** The smallest and the largest IP packet of an echo request. */
export function echoPacketBytes(family: Family): { readonly least: number; readonly most: number } {
  const least = ipHeaderBytes(family) + HEAD_BYTES;
  return { least, most: least + MAX_PADDING_BYTES };
}

export interface EchoRequest {
  readonly target: Address;
  /** One of this host's; default: as the kernel chooses for the route. */
  readonly source?: Address;
  /** 16 bits. */
  readonly sequence: number;
  /** `ECHO_PAYLOAD_BYTES`. The first four bytes are the mark that other agents look for. */
  readonly payload: Uint8Array;
  /** Of the whole IP packet; default: the smallest. */
  readonly packetBytes?: number;
}

export function ipHeaderBytes(family: Family): number {
  return family === 4 ? 20 : 40;
}

export function writeEcho(
  memory: EchoMemory,
  slot: number,
  family: Family,
  identifier: number,
  request: EchoRequest,
): void {
  const { u8, view } = memory;
  const head = memory.head(slot);
  u8.fill(0, head, head + HEAD_BYTES);
  u8[head] = echoTypes(family).request;
  view.setUint16(head + 4, identifier);
  view.setUint16(head + 6, request.sequence);
  u8.set(request.payload.subarray(0, ECHO_PAYLOAD_BYTES), head + ICMP_HEADER_BYTES);
  // The kernel does it for IPv6; zeros behind the head do not change it.
  if (family === 4) view.setUint16(head + 2, internetChecksum(u8.subarray(head, head + HEAD_BYTES)));
  const nameBytes = writeName(memory, slot, family, request.target);
  const controlBytes = request.source === undefined ? 0 : writeSource(memory, slot, family, request.source);
  const { least, most } = echoPacketBytes(family);
  const packetBytes = Math.min(Math.max(request.packetBytes ?? least, least), most);
  memory.describeOutgoing(slot, { headBytes: HEAD_BYTES, paddingBytes: packetBytes - least, nameBytes, controlBytes });
}

function writeName(memory: EchoMemory, slot: number, family: Family, target: Address): number {
  const name = memory.name(slot);
  memory.u8.fill(0, name, name + NAME_BYTES);
  memory.view.setUint16(name, family === 4 ? AF_INET : AF_INET6, true);
  memory.u8.set(addressToBytes(target), name + (family === 4 ? 4 : 8));
  return family === 4 ? 16 : 28;
}

/** struct in_pktinfo {ifindex, spec_dst, addr} or in6_pktinfo {addr, ifindex}. */
function writeSource(memory: EchoMemory, slot: number, family: Family, source: Address): number {
  const control = memory.control(slot);
  const { u8, view } = memory;
  const [level, type, length] = family === 4 ? [IPPROTO_IP, IP_PKTINFO, 12] : [IPPROTO_IPV6, IPV6_PKTINFO, 20];
  const space = CMSG_HEADER_BYTES + Math.ceil(length / 8) * 8;
  u8.fill(0, control, control + space);
  view.setBigUint64(control, BigInt(CMSG_HEADER_BYTES + length), true);
  view.setInt32(control + 8, level, true);
  view.setInt32(control + 12, type, true);
  u8.set(addressToBytes(source), control + CMSG_HEADER_BYTES + (family === 4 ? 4 : 0));
  return space;
}
