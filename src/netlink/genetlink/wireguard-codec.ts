// Messages of the kernel's generic netlink family `wireguard` (linux/wireguard.h, kernel >= 5.6). Pure; input is hostile.

import type { Prefix } from "../../ip/address.ts";
import {
  type Address,
  addressBits,
  addressFromBytes,
  addressToBytes,
  familyOf,
  makePrefix,
  prefixAddress,
  prefixLength,
} from "../../ip/address.ts";
import { socketAddress } from "../../sys/socket-address.ts";
import { AttributeReader } from "../attribute-reader.ts";
import type { MessageWriter } from "../message-writer.ts";
import { AF_INET, AF_INET6 } from "../uapi.ts";
import type { DeviceChange, DeviceState, Endpoint, PeerChange, PeerState } from "./wireguard-device.ts";

export const wireguardFamily = { name: "wireguard", version: 1, getDevice: 0, setDevice: 1 } as const;

const deviceAttribute = { name: 2, privateKey: 3, publicKey: 4, listenPort: 6, peers: 8 } as const;
const peerAttribute = {
  publicKey: 1,
  presharedKey: 2,
  flags: 3,
  endpoint: 4,
  keepalive: 5,
  lastHandshake: 6,
  receivedBytes: 7,
  sentBytes: 8,
  allowedIps: 9,
} as const;
const peerFlag = { remove: 1, replaceAllowedIps: 2 } as const;
const allowedIpAttribute = { family: 1, address: 2, length: 3 } as const;

const KEY_BYTES = 32;
const NO_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/** An attribute holds at most 64 KiB; with some room for one more peer. */
const PEERS_BYTES = 48 * 1024;

/** A change as one or more messages' attributes: many peers do not fit into one. */
export function changeMessages(device: string, change: DeviceChange): ((writer: MessageWriter) => void)[] {
  const { peers = [] } = change;
  const parts = chunks(peers);
  const first = (writer: MessageWriter) => writeChange(writer, device, { ...change, peers: parts[0] ?? [] });
  return [
    first,
    ...parts.slice(1).map((part) => (writer: MessageWriter) => writeChange(writer, device, { peers: part })),
  ];
}

export function writeDeviceName(writer: MessageWriter, device: string): void {
  writer.textAttribute(deviceAttribute.name, device);
}

function chunks(peers: readonly PeerChange[]): PeerChange[][] {
  const parts: PeerChange[][] = [];
  let bytes = PEERS_BYTES;
  for (const peer of peers) {
    const size = 160 + 40 * (peer.allowedIps?.length ?? 0);
    if (bytes + size > PEERS_BYTES) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)?.push(peer);
    bytes += size;
  }
  return parts;
}

function writeChange(writer: MessageWriter, device: string, change: DeviceChange): void {
  const { privateKey, listenPort, peers = [] } = change;
  writeDeviceName(writer, device);
  if (privateKey !== undefined) writer.bytesAttribute(deviceAttribute.privateKey, keyBytes(privateKey));
  if (listenPort !== undefined) writer.u16Attribute(deviceAttribute.listenPort, listenPort);
  if (peers.length === 0) return;
  const nest = writer.beginMarkedNest(deviceAttribute.peers);
  for (const peer of peers) writePeer(writer, peer);
  writer.endNest(nest);
}

function writePeer(writer: MessageWriter, peer: PeerChange): void {
  const { publicKey, presharedKey, endpoint, keepaliveSeconds, allowedIps, remove } = peer;
  const nest = writer.beginMarkedNest(0);
  writer.bytesAttribute(peerAttribute.publicKey, keyBytes(publicKey));
  if (remove === true) {
    writer.u32Attribute(peerAttribute.flags, peerFlag.remove);
    writer.endNest(nest);
    return;
  }
  if (allowedIps !== undefined) writer.u32Attribute(peerAttribute.flags, peerFlag.replaceAllowedIps);
  if (presharedKey !== undefined) writer.bytesAttribute(peerAttribute.presharedKey, keyBytes(presharedKey ?? NO_KEY));
  if (endpoint !== undefined) {
    writer.bytesAttribute(peerAttribute.endpoint, socketAddress(endpoint.address, endpoint.port));
  }
  if (keepaliveSeconds !== undefined) writer.u16Attribute(peerAttribute.keepalive, keepaliveSeconds);
  if (allowedIps !== undefined && allowedIps.length > 0) {
    const list = writer.beginMarkedNest(peerAttribute.allowedIps);
    for (const prefix of allowedIps) writeAllowedIp(writer, prefix);
    writer.endNest(list);
  }
  writer.endNest(nest);
}

function writeAllowedIp(writer: MessageWriter, prefix: Prefix): void {
  const nest = writer.beginMarkedNest(0);
  const address = prefixAddress(prefix);
  writer.u16Attribute(allowedIpAttribute.family, familyOf(address) === 4 ? AF_INET : AF_INET6);
  writer.bytesAttribute(allowedIpAttribute.address, addressToBytes(address));
  writer.u8Attribute(allowedIpAttribute.length, prefixLength(prefix));
  writer.endNest(nest);
}

/**
 * Puts the messages of one dump together. A peer with more allowed IPs than fit into a message comes in several parts, the
 * further ones with nothing but its key and the rest of them.
 */
export class DeviceDump {
  #publicKey: string | undefined;
  #listenPort = 0;
  readonly #peers = new Map<string, Omit<PeerState, "allowedIps"> & { readonly allowedIps: Prefix[] }>();

  read(view: DataView, start: number, end: number): void {
    const reader = new AttributeReader(view, start, end);
    while (reader.next()) {
      if (reader.type === deviceAttribute.publicKey) this.#publicKey = readKey(reader);
      else if (reader.type === deviceAttribute.listenPort) this.#listenPort = reader.u16() ?? 0;
      else if (reader.type === deviceAttribute.peers) {
        const peers = reader.nested();
        while (peers.next()) this.#readPeer(peers.nested());
      }
    }
  }

  end(): DeviceState {
    const peers = [...this.#peers.values()];
    return {
      listenPort: this.#listenPort,
      peers,
      ...(this.#publicKey === undefined ? {} : { publicKey: this.#publicKey }),
    };
  }

  #readPeer(reader: AttributeReader): void {
    const peer: { -readonly [K in keyof PeerState]?: PeerState[K] } & { allowedIps: Prefix[] } = { allowedIps: [] };
    while (reader.next()) {
      switch (reader.type) {
        case peerAttribute.publicKey:
          assign(peer, "publicKey", readKey(reader));
          break;
        case peerAttribute.presharedKey:
          assign(peer, "presharedKey", readKey(reader));
          break;
        case peerAttribute.endpoint:
          assign(peer, "endpoint", readEndpoint(reader.bytes()));
          break;
        case peerAttribute.keepalive:
          assign(peer, "keepaliveSeconds", reader.u16());
          break;
        case peerAttribute.lastHandshake:
          assign(peer, "lastHandshakeMs", readTime(reader.bytes()));
          break;
        case peerAttribute.receivedBytes:
          assign(peer, "receivedBytes", reader.u64());
          break;
        case peerAttribute.sentBytes:
          assign(peer, "sentBytes", reader.u64());
          break;
        case peerAttribute.allowedIps:
          readAllowedIps(reader.nested(), peer.allowedIps);
          break;
      }
    }
    const { publicKey, allowedIps } = peer;
    if (publicKey === undefined) return;
    const known = this.#peers.get(publicKey);
    if (known !== undefined) known.allowedIps.push(...allowedIps);
    else this.#peers.set(publicKey, { keepaliveSeconds: 0, receivedBytes: 0, sentBytes: 0, ...peer, publicKey });
  }
}

function assign<T extends object, K extends keyof T>(target: T, key: K, value: T[K] | undefined): void {
  if (value !== undefined) target[key] = value;
}

/** Undefined for the key of zeros, which stands for none. */
function readKey(reader: AttributeReader): string | undefined {
  const bytes = reader.bytes();
  if (bytes.length !== KEY_BYTES) return undefined;
  const text = Buffer.from(bytes).toString("base64");
  return text === NO_KEY ? undefined : text;
}

function keyBytes(key: string): Uint8Array {
  const bytes = Buffer.from(key, "base64");
  if (bytes.length !== KEY_BYTES) throw new RangeError("not a key of 32 bytes");
  return bytes;
}

function readEndpoint(bytes: Uint8Array): Endpoint | undefined {
  if (bytes.length < 16) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const family = view.getUint16(0, true);
  const port = view.getUint16(2, false);
  if (family === AF_INET) return { address: addressFromBytes(bytes.subarray(4, 8)), port };
  if (family === AF_INET6 && bytes.length >= 24) return { address: addressFromBytes(bytes.subarray(8, 24)), port };
  return undefined;
}

/** struct __kernel_timespec: seconds and nanoseconds, 64 bits each. */
function readTime(bytes: Uint8Array): number | undefined {
  if (bytes.length < 16) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const ms = Number(view.getBigInt64(0, true)) * 1000 + Math.floor(Number(view.getBigInt64(8, true)) / 1_000_000);
  return ms === 0 ? undefined : ms;
}

function readAllowedIps(list: AttributeReader, into: Prefix[]): void {
  while (list.next()) {
    const prefix = readAllowedIp(list.nested());
    if (prefix !== undefined) into.push(prefix);
  }
}

/** Undefined for an entry without an address or with a length that its family does not have. */
function readAllowedIp(reader: AttributeReader): Prefix | undefined {
  let address: Address | undefined;
  let length: number | undefined;
  while (reader.next()) {
    if (reader.type === allowedIpAttribute.address) address = reader.address();
    else if (reader.type === allowedIpAttribute.length) length = reader.u8();
  }
  if (address === undefined || length === undefined) return undefined;
  return length <= addressBits(familyOf(address)) ? makePrefix(address, length) : undefined;
}
