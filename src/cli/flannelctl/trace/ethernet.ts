// Ethernet frames of a stand-in for a container: an echo request as it would send it, the answer to who asks for its address, and
// what comes for it (RFC 826, 791, 792). IPv4. Pure; input is hostile.
import { type Address, addressFromBytes, addressToBytes } from "../../../ip/address.ts";
import { internetChecksum } from "../../../ip/internet-checksum.ts";

export interface FrameEnds {
  readonly ownMac: string;
  readonly ownAddress: Address;
  /** Of the bridge, which is its next hop. */
  readonly otherMac: string;
}

export interface EchoFrame {
  readonly target: Address;
  /** 16 bits. */
  readonly sequence: number;
  readonly payload: Uint8Array;
  /** Of the whole IP packet; what is left behind the payload is zeros. */
  readonly packetBytes: number;
}

const ETHERNET_BYTES = 14;
const IP_BYTES = 20;
const ICMP_BYTES = 8;
const ETH_P_IP = 0x0800;
const ETH_P_ARP = 0x0806;
const ARP_BYTES = 28;
const IPPROTO_ICMP = 1;
const ECHO_REQUEST = 8;
/** It has no other connections. */
const IDENTIFIER = 0x464c;
const TTL = 64;

export function encodeEcho(ends: FrameEnds, { target, sequence, payload, packetBytes }: EchoFrame): Uint8Array {
  const bytes = new Uint8Array(ETHERNET_BYTES + packetBytes);
  const view = new DataView(bytes.buffer);
  writeEthernet(bytes, ends.otherMac, ends.ownMac, ETH_P_IP);
  const ip = ETHERNET_BYTES;
  view.setUint8(ip, 0x45);
  view.setUint16(ip + 2, packetBytes);
  view.setUint16(ip + 4, sequence);
  // Do not fragment.
  view.setUint16(ip + 6, 0x4000);
  view.setUint8(ip + 8, TTL);
  view.setUint8(ip + 9, IPPROTO_ICMP);
  bytes.set(addressToBytes(ends.ownAddress), ip + 12);
  bytes.set(addressToBytes(target), ip + 16);
  view.setUint16(ip + 10, internetChecksum(bytes.subarray(ip, ip + IP_BYTES)));
  const icmp = ip + IP_BYTES;
  view.setUint8(icmp, ECHO_REQUEST);
  view.setUint16(icmp + 4, IDENTIFIER);
  view.setUint16(icmp + 6, sequence);
  bytes.set(payload.subarray(0, packetBytes - IP_BYTES - ICMP_BYTES), icmp + ICMP_BYTES);
  view.setUint16(icmp + 2, internetChecksum(bytes.subarray(icmp)));
  return bytes;
}

/** A question who has the address. */
export interface ArpQuestion {
  readonly mac: Uint8Array;
  readonly address: Uint8Array;
}

export function encodeArpReply(ends: FrameEnds, { mac, address }: ArpQuestion): Uint8Array {
  const bytes = new Uint8Array(ETHERNET_BYTES + ARP_BYTES);
  writeEthernet(bytes, mac, ends.ownMac, ETH_P_ARP);
  const arp = ETHERNET_BYTES;
  // Ethernet, IPv4, lengths, reply.
  bytes.set([0, 1, 8, 0, 6, 4, 0, 2], arp);
  bytes.set(macBytes(ends.ownMac), arp + 8);
  bytes.set(addressToBytes(ends.ownAddress), arp + 14);
  bytes.set(mac, arp + 18);
  bytes.set(address, arp + 24);
  return bytes;
}

export type FrameRead =
  | ({ readonly type: "question" } & ArpQuestion)
  | { readonly type: "icmp"; readonly message: IcmpMessage };

export interface IcmpMessage {
  readonly source: Address;
  readonly icmpType: number;
  readonly icmpCode: number;
  /** Behind the ICMP header. */
  readonly content: Uint8Array;
}

/** Undefined for all that is not for it. */
export function readFrame(bytes: Uint8Array, { ownAddress }: FrameEnds): FrameRead | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < ETHERNET_BYTES + IP_BYTES) return undefined;
  const own = addressToBytes(ownAddress);
  const isOwn = (at: number) => own.every((byte, index) => bytes[at + index] === byte);
  const type = view.getUint16(12);
  if (type === ETH_P_ARP) {
    const arp = ETHERNET_BYTES;
    if (bytes.length < arp + ARP_BYTES || view.getUint16(arp + 6) !== 1 || !isOwn(arp + 24)) return undefined;
    return { type: "question", mac: bytes.slice(arp + 8, arp + 14), address: bytes.slice(arp + 14, arp + 18) };
  }
  const ip = ETHERNET_BYTES;
  const icmp = ip + ((bytes[ip] ?? 0) & 0xf) * 4;
  if (type !== ETH_P_IP || (bytes[ip] ?? 0) >> 4 !== 4 || bytes[ip + 9] !== IPPROTO_ICMP) return undefined;
  if (!isOwn(ip + 16) || bytes.length < icmp + ICMP_BYTES) return undefined;
  return {
    type: "icmp",
    message: {
      source: addressFromBytes(bytes.subarray(ip + 12, ip + 16)),
      icmpType: bytes[icmp] ?? 0,
      icmpCode: bytes[icmp + 1] ?? 0,
      content: bytes.slice(icmp + ICMP_BYTES),
    },
  };
}

function writeEthernet(bytes: Uint8Array, to: string | Uint8Array, from: string, type: number): void {
  bytes.set(typeof to === "string" ? macBytes(to) : to, 0);
  bytes.set(macBytes(from), 6);
  new DataView(bytes.buffer).setUint16(12, type);
}

function macBytes(mac: string): number[] {
  return mac.split(":").map((part) => Number.parseInt(part, 16));
}
