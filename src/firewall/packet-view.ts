// A packet as the expressions of rules see it in one hook: what stands at which byte of its headers, and what the kernel knows
// about it. Pure.
import { nftCt, nftMeta, nftPayloadBase } from "../netlink/uapi.ts";
import type { AddressSet } from "./address-set.ts";
import type { TestPacket } from "./hook-packets.ts";

/**
 * A byte of a packet or register: 0 to 255, `UNKNOWN`, or a place in an address, of which a packet stands for many: `SOURCE - n`
 * or `DESTINATION - n` for byte n.
 */
export type Cell = number;
export const UNKNOWN: Cell = -1;
export const SOURCE: Cell = -2;
export const DESTINATION: Cell = -18;

export type AddressSide = "source" | "destination";

export interface ViewOptions {
  /** Whether connection tracking has seen it; undefined: not known. */
  readonly isTracked: boolean | undefined;
  /** Undefined: not known. */
  readonly deviceIndex: (name: string) => number | undefined;
}

const NAME_BYTES = 16;
const CT_INVALID = 1;
const CT_ESTABLISHED = 2;
const CT_NEW = 8;
/** IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED. */
const CT_STATUS_ESTABLISHED = 0xe;
const routeTypes = { unicast: 1, local: 2 } as const;

function protocolNumber({ protocol, family }: TestPacket): number {
  return protocol === "tcp" ? 6 : protocol === "udp" ? 17 : family === 4 ? 1 : 58;
}

export class PacketView {
  readonly packet: TestPacket;
  readonly #options: ViewOptions;
  readonly #network: readonly Cell[];
  readonly #incoming: readonly Cell[] | undefined;
  readonly #outgoing: readonly Cell[] | undefined;

  constructor(packet: TestPacket, options: ViewOptions) {
    this.packet = packet;
    this.#options = options;
    this.#network = networkHeader(packet);
    this.#incoming = nameCells(packet.incoming);
    this.#outgoing = nameCells(packet.outgoing);
  }

  /** The same packet with fewer addresses. */
  narrowed(side: AddressSide, addresses: AddressSet): PacketView {
    return new PacketView({ ...this.packet, [side]: addresses }, this.#options);
  }

  /** Byte of a header. */
  payload(base: number, offset: number): Cell {
    if (base === nftPayloadBase.network) return this.#network[offset] ?? UNKNOWN;
    if (base === nftPayloadBase.transport) return this.#transport(offset);
    if (base !== nftPayloadBase.link) return UNKNOWN;
    return offset === 12 || offset === 13 ? (this.#etherType[offset - 12] ?? UNKNOWN) : UNKNOWN;
  }

  /** Of the header of TCP or UDP the destination port alone is known. */
  #transport(offset: number): Cell {
    const port = this.packet.destinationPort;
    if (port === undefined) return UNKNOWN;
    if (offset === 2) return port >> 8;
    return offset === 3 ? port & 0xff : UNKNOWN;
  }

  /** Undefined: not known. */
  meta(key: number, mark: number | undefined): readonly Cell[] | undefined {
    const { packet } = this;
    switch (key) {
      case nftMeta.protocol:
        return this.#etherType;
      case nftMeta.mark:
        return mark === undefined ? undefined : hostNumber(mark);
      case nftMeta.incomingName:
        return this.#incoming;
      case nftMeta.outgoingName:
        return this.#outgoing;
      case nftMeta.incomingIndex:
        return this.#index(packet.incoming);
      case nftMeta.outgoingIndex:
        return this.#index(packet.outgoing);
      case nftMeta.netfilterProtocol:
        return [packet.family === 4 ? 2 : 10];
      case nftMeta.layer4Protocol:
        return [protocolNumber(packet)];
      default:
        return undefined;
    }
  }

  /** "absent": the packet has no connection, so that nothing compares with it. */
  ct(key: number): readonly Cell[] | undefined | "absent" {
    const { isTracked } = this.#options;
    if (isTracked === undefined) return undefined;
    const isNew = this.packet.state === "new";
    if (key === nftCt.state) return hostNumber(isTracked ? (isNew ? CT_NEW : CT_ESTABLISHED) : CT_INVALID);
    if (key !== nftCt.status) return undefined;
    return isTracked ? hostNumber(isNew ? 0 : CT_STATUS_ESTABLISHED) : "absent";
  }

  addressType(side: AddressSide): readonly Cell[] {
    return hostNumber(routeTypes[side === "source" ? this.packet.sourceType : this.packet.destinationType]);
  }

  get #etherType(): readonly Cell[] {
    return this.packet.family === 4 ? [0x08, 0x00] : [0x86, 0xdd];
  }

  #index(name: string | undefined): readonly Cell[] | undefined {
    if (name === undefined) return undefined;
    const index = name === "" ? 0 : this.#options.deviceIndex(name);
    return index === undefined ? undefined : hostNumber(index);
  }
}

function networkHeader(packet: TestPacket): Cell[] {
  const { family, source, destination } = packet;
  const length = family === 4 ? 4 : 16;
  const [protocolAt, sourceAt, headerLength] = family === 4 ? [9, 12, 20] : [6, 8, 40];
  const header = new Array<Cell>(headerLength).fill(UNKNOWN);
  header[protocolAt] = protocolNumber(packet);
  for (let byte = 0; byte < length; byte++) {
    if (source !== undefined) header[sourceAt + byte] = SOURCE - byte;
    if (destination !== undefined) header[sourceAt + length + byte] = DESTINATION - byte;
  }
  return header;
}

function nameCells(name: string | undefined): readonly Cell[] | undefined {
  if (name === undefined) return undefined;
  const cells = new Array<Cell>(NAME_BYTES).fill(0);
  for (const [at, byte] of new TextEncoder().encode(name).entries()) if (at < NAME_BYTES) cells[at] = byte;
  return cells;
}

/** Host byte order: supported machines are little-endian. */
function hostNumber(value: number): readonly Cell[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}
