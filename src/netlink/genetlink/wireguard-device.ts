// A WireGuard device as plain data: what is asked of it and what it answers, the same for the kernel and for a user-space
// program. Keys are base64 text of 32 bytes. Pure.
import type { Address, Prefix } from "../../ip/address.ts";

export interface Endpoint {
  readonly address: Address;
  readonly port: number;
}

/** A device as found. */
export interface DeviceState {
  /** Missing when the device has no key. */
  readonly publicKey?: string;
  /** UDP port; 0 while the device is down and was not given one. */
  readonly listenPort: number;
  readonly peers: readonly PeerState[];
}

/** A peer as found. */
export interface PeerState {
  readonly publicKey: string;
  /** Secret. */
  readonly presharedKey?: string;
  readonly endpoint?: Endpoint;
  /** 0: none are sent. */
  readonly keepaliveSeconds: number;
  /** Wall clock, milliseconds since 1970; missing before the first handshake. */
  readonly lastHandshakeMs?: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly allowedIps: readonly Prefix[];
}

/** What is to change; what is missing stays. */
export interface DeviceChange {
  /** Secret. */
  readonly privateKey?: string;
  readonly listenPort?: number;
  readonly peers?: readonly PeerChange[];
}

export interface PeerChange {
  readonly publicKey: string;
  /** The peer goes; nothing else counts then. */
  readonly remove?: true;
  /** Secret; `null` takes it away. */
  readonly presharedKey?: string | null;
  readonly endpoint?: Endpoint;
  readonly keepaliveSeconds?: number;
  /** All of them: others of this peer go; one that another peer has comes to this one. */
  readonly allowedIps?: readonly Prefix[];
}

/** `192.0.2.1:51820`, `[2001:db8::1]:51820`. */
export function endpointText({ address, port }: Endpoint): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

export function isSameEndpoint(a: Endpoint | undefined, b: Endpoint | undefined): boolean {
  return a?.address === b?.address && a?.port === b?.port;
}

/** Whether `text` is a key in base64, in the one form that programs print. */
export function isKey(text: string): boolean {
  return /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text);
}
