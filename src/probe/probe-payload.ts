// What a probe carries beside what ICMP asks for. Only flannel's own agents read it; every other host sends it back as it is.
// Whoever reads it must not trust it: it says in which direction packets are lost, never that a peer is reachable. Pure.
import type { Prefix } from "../ip/address.ts";
import type { ProbeKind } from "./probe-path.ts";

/** With it the payload begins: "FLP1". */
export const PROBE_MARK = 0x46_4c_50_31;
const TOKEN_AT = 4;
export const TOKEN_BYTES = 16;
const KIND_AT = 20;
const FLAGS_AT = 21;
const HEARD_AT = 22;
const NETWORK_AT = 24;
const PAYLOAD_BYTES = 56;
const HAS_BRIDGE = 1;
const NEVER = 0xff_ff;
const AGE_UNIT_MS = 100;
const kinds: readonly ProbeKind[] = ["underlay", "tunnel", "bridge"];

export interface ProbePayload {
  /** Unpredictable: a reply that lacks it is none. */
  readonly token: Uint8Array;
  readonly kind: ProbeKind;
  /** The sender has a bridge with the first address of its subnet. */
  readonly hasBridge: boolean;
  /** Since something of the receiver last came to the sender through the tunnel, in ms; missing: never, or long ago. */
  readonly heardAgeMs?: number;
  /** Of the receiver's subnet: several networks may connect the same two hosts. */
  readonly networkTag: number;
}

export function writeProbe(probe: ProbePayload): Uint8Array {
  const bytes = new Uint8Array(PAYLOAD_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, PROBE_MARK);
  bytes.set(probe.token.subarray(0, TOKEN_BYTES), TOKEN_AT);
  bytes[KIND_AT] = kinds.indexOf(probe.kind);
  bytes[FLAGS_AT] = probe.hasBridge ? HAS_BRIDGE : 0;
  const { heardAgeMs } = probe;
  view.setUint16(HEARD_AT, heardAgeMs === undefined ? NEVER : Math.min(NEVER, Math.floor(heardAgeMs / AGE_UNIT_MS)));
  view.setUint32(NETWORK_AT, probe.networkTag);
  return bytes;
}

/** Undefined for what no agent wrote. */
export function readProbe(bytes: Uint8Array): ProbePayload | undefined {
  if (bytes.length < PAYLOAD_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const kind = kinds[bytes[KIND_AT] ?? 0xff];
  if (view.getUint32(0) !== PROBE_MARK || kind === undefined) return undefined;
  const age = view.getUint16(HEARD_AT);
  return {
    token: bytes.slice(TOKEN_AT, TOKEN_AT + TOKEN_BYTES),
    kind,
    hasBridge: ((bytes[FLAGS_AT] ?? 0) & HAS_BRIDGE) !== 0,
    ...(age !== NEVER && { heardAgeMs: age * AGE_UNIT_MS }),
    networkTag: view.getUint32(NETWORK_AT),
  };
}

/** 32 bits that stand for a subnet (FNV-1a). */
export function networkTagOf(subnet: Prefix): number {
  let hash = 0x81_1c_9d_c5;
  for (let at = 0; at < subnet.length; at++) hash = Math.imul(hash ^ subnet.charCodeAt(at), 0x01_00_01_93);
  return hash >>> 0;
}
