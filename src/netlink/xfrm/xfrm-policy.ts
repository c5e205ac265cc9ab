// The messages of the kernel's IPsec policies (xfrm), and which associations there are. Pure; what comes in is hostile. Source: linux/xfrm.h.

import type { Address } from "../../ip/address.ts";
import {
  addressFromBytes,
  addressToBytes,
  type Family,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../../ip/address.ts";
import { networkOf } from "../../ip/prefix.ts";
import { AttributeReader } from "../attribute-reader.ts";
import type { MessageWriter } from "../message-writer.ts";
import { addressFamily, ipFamily } from "../request.ts";
import { xfrm, xfrma } from "../uapi.ts";

/** `fwd`: packets that were decrypted here and go on to a container. */
export type XfrmDirection = "in" | "out" | "fwd";

/** What is done to a packet of the policy: the header that goes around it. */
export interface XfrmTemplate {
  readonly source: Address;
  readonly destination: Address;
  /** IPPROTO_*: 50 is ESP. */
  readonly protocol: number;
  /** Which security associations may serve it. */
  readonly requestId: number;
  readonly mode: "tunnel" | "other";
  readonly isOptional: boolean;
}

/** Which packets, by their prefixes. */
export interface XfrmSelector {
  readonly direction: XfrmDirection;
  readonly source: Prefix;
  readonly destination: Prefix;
}

export interface XfrmPolicy extends XfrmSelector {
  /** The lowest number wins. */
  readonly priority: number;
  readonly action: "allow" | "block";
  readonly templates: readonly XfrmTemplate[];
  /** It has a protocol, ports, a device, a user, a mark or an interface id, which nothing of ours has. */
  readonly isNarrower: boolean;
}

const SELECTOR_BYTES = 56;
const LIFETIME_BYTES = 64;
const CURRENT_LIFETIME_BYTES = 32;
/** struct xfrm_userpolicy_info: offsets. */
const policyAt = { priority: 152, direction: 160, action: 161, end: 168 } as const;
const TEMPLATE_BYTES = 64;

const directions: readonly XfrmDirection[] = ["in", "out", "fwd"];
const ADDRESS_BYTES = 16;
const UNLIMITED = 0xffff_ffff;

/** struct xfrm_userpolicy_info and its template, for XFRM_MSG_UPDPOLICY. */
export function writePolicy(writer: MessageWriter, policy: XfrmPolicy): void {
  writeSelector(writer, policy);
  writeLifetime(writer);
  writer.zeros(CURRENT_LIFETIME_BYTES);
  writer.u32(policy.priority);
  writer.u32(0);
  writer.u8(directions.indexOf(policy.direction));
  writer.u8(policy.action === "allow" ? xfrm.actionAllow : xfrm.actionBlock);
  writer.zeros(policyAt.end - policyAt.action - 1);
  if (policy.templates.length > 0) writer.bytesAttribute(xfrma.template, encodeTemplates(policy.templates));
}

/** struct xfrm_userpolicy_id, for XFRM_MSG_DELPOLICY. */
export function writePolicyId(writer: MessageWriter, selector: XfrmSelector): void {
  writeSelector(writer, selector);
  writer.u32(0);
  writer.u8(directions.indexOf(selector.direction));
  writer.zeros(3);
}

/** struct xfrm_lifetime_cfg without any limit. */
export function writeLifetime(writer: MessageWriter): void {
  for (let limit = 0; limit < 8; limit++) writer.u32(UNLIMITED);
  writer.zeros(LIFETIME_BYTES - 32);
}

/** struct xfrm_selector. */
function writeSelector(writer: MessageWriter, { source, destination }: Omit<XfrmSelector, "direction">): void {
  writeXfrmAddress(writer, prefixAddress(destination));
  writeXfrmAddress(writer, prefixAddress(source));
  writer.zeros(8);
  writer.u16(addressFamily(source));
  writer.u8(prefixLength(destination));
  writer.u8(prefixLength(source));
  writer.zeros(SELECTOR_BYTES - 44);
}

/** xfrm_address_t: an IPv4 address is its first four bytes. */
export function writeXfrmAddress(writer: MessageWriter, address: Address): void {
  const bytes = addressToBytes(address);
  for (const byte of bytes) writer.u8(byte);
  writer.zeros(ADDRESS_BYTES - bytes.length);
}

function encodeTemplates(templates: readonly XfrmTemplate[]): Uint8Array {
  const bytes = new Uint8Array(templates.length * TEMPLATE_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [index, template] of templates.entries()) {
    const at = index * TEMPLATE_BYTES;
    bytes.set(addressToBytes(template.destination), at);
    view.setUint8(at + 20, template.protocol);
    view.setUint16(at + 24, addressFamily(template.destination), true);
    bytes.set(addressToBytes(template.source), at + 28);
    view.setUint32(at + 44, template.requestId, true);
    view.setUint8(at + 48, template.mode === "tunnel" ? xfrm.modeTunnel : 0);
    view.setUint8(at + 50, template.isOptional ? 1 : 0);
    // Any algorithm: the security association says which.
    for (const offset of [52, 56, 60]) view.setUint32(at + offset, UNLIMITED, true);
  }
  return bytes;
}

/** Undefined for what cannot be read, or has no IP selector (policies of sockets). */
export function decodePolicy(view: DataView, start: number, end: number): XfrmPolicy | undefined {
  if (start + policyAt.end > end) return undefined;
  const selector = decodeSelector(view, start);
  const direction = directions[view.getUint8(start + policyAt.direction)];
  if (selector === undefined || direction === undefined) return undefined;
  let templates: readonly XfrmTemplate[] = [];
  let isNarrower = selector.isNarrower;
  const reader = new AttributeReader(view, start + policyAt.end, end);
  while (reader.next()) {
    if (reader.type === xfrma.template) templates = decodeTemplates(view, ...reader.bounds());
    else if (reader.type === xfrma.mark) isNarrower ||= (reader.u32() ?? 0) !== 0 || reader.bytes().some(Boolean);
    else if (reader.type === xfrma.interfaceId) isNarrower ||= (reader.u32() ?? 0) !== 0;
  }
  return {
    direction,
    source: selector.source,
    destination: selector.destination,
    priority: view.getUint32(start + policyAt.priority, true),
    action: view.getUint8(start + policyAt.action) === xfrm.actionAllow ? "allow" : "block",
    templates,
    isNarrower,
  };
}

/** struct xfrm_usersa_info: offsets. */
const stateAt = { spi: 72, protocol: 76, end: 224 } as const;

/** Eight hexadecimal digits; undefined for what cannot be read, and for other protocols than ESP. */
export function decodeEspNumber(view: DataView, start: number, end: number): string | undefined {
  if (start + stateAt.end > end || view.getUint8(start + stateAt.protocol) !== xfrm.protocolEsp) return undefined;
  return view
    .getUint32(start + stateAt.spi, false)
    .toString(16)
    .padStart(8, "0");
}

function decodeSelector(view: DataView, start: number) {
  const family = ipFamily(view.getUint16(start + 40, true));
  const destination = readPrefix(view, start, family, view.getUint8(start + 42));
  const source = readPrefix(view, start + ADDRESS_BYTES, family, view.getUint8(start + 43));
  if (destination === undefined || source === undefined) return undefined;
  let isNarrower = view.getUint8(start + 44) !== 0;
  // Ports with their masks; device and user.
  for (let at = 32; at < 40; at++) isNarrower ||= view.getUint8(start + at) !== 0;
  for (let at = 48; at < SELECTOR_BYTES; at++) isNarrower ||= view.getUint8(start + at) !== 0;
  return { source, destination, isNarrower };
}

function readPrefix(view: DataView, at: number, family: Family | undefined, lengthBits: number): Prefix | undefined {
  if (family === undefined || lengthBits > (family === 4 ? 32 : 128)) return undefined;
  return networkOf(makePrefix(readAddress(view, at, family), lengthBits));
}

function readAddress(view: DataView, at: number, family: Family): Address {
  return addressFromBytes(new Uint8Array(view.buffer, view.byteOffset + at, family === 4 ? 4 : 16).slice());
}

function decodeTemplates(view: DataView, start: number, end: number): readonly XfrmTemplate[] {
  const templates: XfrmTemplate[] = [];
  for (let at = start; at + TEMPLATE_BYTES <= end; at += TEMPLATE_BYTES) {
    const family = ipFamily(view.getUint16(at + 24, true));
    if (family === undefined) continue;
    templates.push({
      destination: readAddress(view, at, family),
      source: readAddress(view, at + 28, family),
      protocol: view.getUint8(at + 20),
      requestId: view.getUint32(at + 44, true),
      mode: view.getUint8(at + 48) === xfrm.modeTunnel ? "tunnel" : "other",
      isOptional: view.getUint8(at + 50) !== 0,
    });
  }
  return templates;
}
