// Asks the link whether another host has an IPv4 address of this host (RFC 5227, section 2.1.1: an ARP probe has no sender
// address, so that nobody's cache learns from it). Linux: packet(7).
import { setTimeout as delay } from "node:timers/promises";
import type { Address } from "../../ip/address.ts";
import { bindSocket, openSocket, receiveDatagram, SOCK_DGRAM, sendDatagram } from "../../sys/socket.ts";

const AF_PACKET = 17;
const ETH_P_ARP = 0x0806;
const ARP_BYTES = 28;
const WAIT_MS = 600;
const LOOK_EVERY_MS = 20;
const MAX_READ = 256;
/** Virtual routers of VRRP. */
const VRRP = /^00:00:5e:00:0[12]:/;

export interface ArpQuestion {
  readonly address: Address;
  readonly device: { readonly index: number; readonly mac: string };
  /** Of this host; missing: a probe for an address that may be our own. */
  readonly sender?: Address;
  /** Answers of these do not count. */
  readonly own: ReadonlySet<string>;
}

/** MAC addresses that answer for the address. Throws when the kernel refuses the socket. */
export async function whoHas({ address, device, sender, own }: ArpQuestion): Promise<string[]> {
  using socket = openSocket("ARP socket", AF_PACKET, SOCK_DGRAM, ((ETH_P_ARP & 0xff) << 8) | (ETH_P_ARP >> 8));
  bindSocket("ARP socket", socket, linkAddress(device.index, undefined));
  const probe = encodeProbe(address, device.mac, sender);
  sendDatagram("send an ARP probe", socket, probe, linkAddress(device.index, "ff:ff:ff:ff:ff:ff"));
  const found = new Set<string>();
  const buffer = new Uint8Array(64);
  const endMs = performance.now() + WAIT_MS;
  while (performance.now() < endMs) {
    await delay(LOOK_EVERY_MS);
    for (let read = 0; read < MAX_READ; read++) {
      const length = receiveDatagram("receive ARP", socket, buffer);
      if (length === undefined) break;
      const mac = length >= ARP_BYTES ? senderOf(buffer, address) : undefined;
      if (mac !== undefined && !own.has(mac) && !VRRP.test(mac)) found.add(mac);
    }
  }
  return [...found];
}

/** struct sockaddr_ll */
function linkAddress(index: number, mac: string | undefined): Uint8Array {
  const bytes = new Uint8Array(20);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, ETH_P_ARP, false);
  view.setInt32(4, index, true);
  if (mac !== undefined) {
    bytes[11] = 6;
    bytes.set(macBytes(mac), 12);
  }
  return bytes;
}

function encodeProbe(address: Address, mac: string, sender: Address | undefined): Uint8Array {
  const bytes = new Uint8Array(ARP_BYTES);
  // Ethernet, IPv4, lengths, request.
  bytes.set([0, 1, 8, 0, 6, 4, 0, 1]);
  bytes.set(macBytes(mac), 8);
  if (sender !== undefined) bytes.set(sender.split(".").map(Number), 14);
  bytes.set(address.split(".").map(Number), 24);
  return bytes;
}

/** Of a reply, or an announcement, that claims the address. */
function senderOf(bytes: Uint8Array, address: Address): string | undefined {
  if (bytes.subarray(14, 18).join(".") !== address) return undefined;
  return [...bytes.subarray(8, 14)].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function macBytes(mac: string): number[] {
  return mac.split(":").map((part) => Number.parseInt(part, 16));
}
