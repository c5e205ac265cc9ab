// The text that user-space WireGuard programs speak over their socket (wireguard.com/xplatform): keys in hexadecimal, one
// `name=value` a line. Pure; input is hostile.
import { type Prefix, tryParseAddress, tryParsePrefix } from "../ip/address.ts";
import {
  type DeviceChange,
  type DeviceState,
  type Endpoint,
  endpointText,
  isKey,
  type PeerChange,
  type PeerState,
} from "../netlink/genetlink/wireguard-device.ts";

const NO_KEY_HEX = "0".repeat(64);

export function changeText(change: DeviceChange): string {
  const { privateKey, listenPort, peers = [] } = change;
  const lines = ["set=1"];
  if (privateKey !== undefined) lines.push(`private_key=${hexOf(privateKey)}`);
  if (listenPort !== undefined) lines.push(`listen_port=${listenPort}`);
  for (const peer of peers) lines.push(...peerLines(peer));
  return `${lines.join("\n")}\n\n`;
}

function peerLines(peer: PeerChange): string[] {
  const { publicKey, presharedKey, endpoint, keepaliveSeconds, allowedIps, remove } = peer;
  const lines = [`public_key=${hexOf(publicKey)}`];
  if (remove === true) return [...lines, "remove=true"];
  if (presharedKey !== undefined) {
    lines.push(`preshared_key=${presharedKey === null ? NO_KEY_HEX : hexOf(presharedKey)}`);
  }
  if (endpoint !== undefined) lines.push(`endpoint=${endpointText(endpoint)}`);
  if (keepaliveSeconds !== undefined) lines.push(`persistent_keepalive_interval=${keepaliveSeconds}`);
  if (allowedIps !== undefined) {
    lines.push("replace_allowed_ips=true", ...allowedIps.map((prefix) => `allowed_ip=${prefix}`));
  }
  return lines;
}

/** The `errno` that ends an answer, positive; undefined when the answer is not one. */
export function answerErrno(text: string): number | undefined {
  const match = /^errno=(-?\d{1,9})$/m.exec(text);
  return match === null ? undefined : Math.abs(Number(match[1]));
}

interface OpenPeer {
  publicKey: string;
  presharedKey?: string;
  endpoint?: Endpoint;
  keepaliveSeconds: number;
  handshakeSeconds: number;
  handshakeNanoseconds: number;
  receivedBytes: number;
  sentBytes: number;
  readonly allowedIps: Prefix[];
}

/** The lines `name=value`. */
function assignmentsIn(text: string): [name: string, value: string][] {
  return text.split("\n").flatMap((line): [string, string][] => {
    const at = line.indexOf("=");
    return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1)]];
  });
}

/** The answer to `get=1`. `publicKeyOf` makes the public key of a private one, both base64. */
export function readDeviceText(text: string, publicKeyOf: (privateKey: string) => string): DeviceState {
  let publicKey: string | undefined;
  let listenPort = 0;
  const peers: OpenPeer[] = [];
  for (const [name, value] of assignmentsIn(text)) {
    const peer = peers.at(-1);
    const peerKey = name === "public_key" ? keyOf(value) : undefined;
    if (peerKey !== undefined) {
      peers.push(newPeer(peerKey));
    } else if (peer !== undefined) {
      readPeerLine(peer, name, value);
    } else if (name === "private_key") {
      const key = keyOf(value);
      if (key !== undefined) publicKey = publicKeyOf(key);
    } else if (name === "listen_port") {
      listenPort = Number(value);
    }
  }
  return { listenPort, peers: peers.map(closePeer), ...(publicKey === undefined ? {} : { publicKey }) };
}

function newPeer(publicKey: string): OpenPeer {
  const counters = { handshakeSeconds: 0, handshakeNanoseconds: 0, receivedBytes: 0, sentBytes: 0 };
  return { publicKey, keepaliveSeconds: 0, ...counters, allowedIps: [] };
}

function readPeerLine(peer: OpenPeer, name: string, value: string): void {
  switch (name) {
    case "preshared_key": {
      const key = keyOf(value);
      if (key !== undefined) peer.presharedKey = key;
      return;
    }
    case "endpoint": {
      const endpoint = readEndpoint(value);
      if (endpoint !== undefined) peer.endpoint = endpoint;
      return;
    }
    case "allowed_ip": {
      const prefix = tryParsePrefix(value);
      if (prefix !== undefined) peer.allowedIps.push(prefix);
      return;
    }
    case "persistent_keepalive_interval":
      peer.keepaliveSeconds = Number(value);
      return;
    case "last_handshake_time_sec":
      peer.handshakeSeconds = Number(value);
      return;
    case "last_handshake_time_nsec":
      peer.handshakeNanoseconds = Number(value);
      return;
    case "rx_bytes":
      peer.receivedBytes = Number(value);
      return;
    case "tx_bytes":
      peer.sentBytes = Number(value);
      return;
  }
}

function closePeer({ handshakeSeconds, handshakeNanoseconds, ...peer }: OpenPeer): PeerState {
  const lastHandshakeMs = handshakeSeconds * 1000 + Math.floor(handshakeNanoseconds / 1_000_000);
  return lastHandshakeMs > 0 ? { ...peer, lastHandshakeMs } : peer;
}

/** `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820`. */
function readEndpoint(text: string): Endpoint | undefined {
  const match = /^(?:\[([^\]%]+)(?:%[^\]]*)?\]|([\d.]+)):(\d{1,5})$/.exec(text);
  const address = tryParseAddress(match?.[1] ?? match?.[2] ?? "");
  return address === undefined ? undefined : { address, port: Number(match?.[3]) };
}

/** Undefined for anything else than 32 bytes, and for the zeros that stand for no key. */
function keyOf(hex: string): string | undefined {
  if (!/^[0-9a-f]{64}$/i.test(hex) || hex === NO_KEY_HEX) return undefined;
  const key = Buffer.from(hex, "hex").toString("base64");
  return isKey(key) ? key : undefined;
}

function hexOf(key: string): string {
  return Buffer.from(key, "base64").toString("hex");
}
