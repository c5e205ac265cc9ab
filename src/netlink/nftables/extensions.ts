// Matches and targets of iptables that nf_tables carries as binary structs (`linux/netfilter/xt_*.h`), as the expressions that
// mean the same. Pure; input is hostile: what is too short or not known is an unknown expression.
import { nftCompare, nftCt, nftFib, nftMeta, nftPayloadBase } from "../uapi.ts";
import type { Expression } from "./expressions.ts";

const unknown: readonly Expression[] = [{ type: "unknown" }];
const harmless: readonly Expression[] = [];

/** `info` is the struct, in host byte order. */
export function expressionsOfMatch(name: string, revision: number, info: DataView): readonly Expression[] {
  try {
    return readMatch(name, revision, info);
  } catch (error) {
    if (error instanceof RangeError) return unknown;
    throw error;
  }
}

function readMatch(name: string, revision: number, info: DataView): readonly Expression[] {
  switch (name) {
    case "comment":
      return harmless;
    case "udp":
    case "tcp":
      return readPorts(name, info);
    case "multiport":
      return revision === 1 ? readMultiport(info) : unknown;
    case "conntrack":
      return readConntrack(revision, info);
    case "state":
      return stateExpressions(info.getUint32(0, true), false);
    case "mark":
      return revision === 1
        ? markExpressions(info.getUint32(0, true), info.getUint32(4, true), info.getUint8(8) !== 0)
        : unknown;
    case "addrtype":
      return revision === 1 ? readAddressType(info) : unknown;
    default:
      return unknown;
  }
}

/** What a target does before the packet goes on; its verdict is `verdictOfTarget`. */
export function expressionsOfTarget(name: string, revision: number, info: DataView): readonly Expression[] {
  if (name === "CONNMARK" || name === "HMARK") return [{ type: "mark", value: undefined, mask: 0 }];
  if (name !== "MARK") return harmless;
  if (revision !== 2 || info.byteLength < 8) return [{ type: "mark", value: undefined, mask: 0 }];
  return [{ type: "mark", value: info.getUint32(0, true), mask: info.getUint32(4, true) }];
}

/** Registers 1 to 4 begin at 0, 16, 32, 48: those of a translated match are used at once. */
const REGISTER = 0;

export function portExpressions(ranges: readonly PortRange[], isNegated: boolean, offset = 2): readonly Expression[] {
  return [
    { type: "payload", register: REGISTER, base: nftPayloadBase.transport, offset, length: 2 },
    {
      type: "among",
      register: REGISTER,
      ranges: ranges.map(([from, to]) => [bigEndian16(from), bigEndian16(to)]),
      isNegated,
    },
  ];
}

export type PortRange = readonly [from: number, to: number];

function readPorts(name: string, info: DataView): readonly Expression[] {
  const [sourceFrom, sourceTo, from, to] = [0, 2, 4, 6].map((at) => info.getUint16(at, true)) as [
    number,
    number,
    number,
    number,
  ];
  const isTcp = name === "tcp";
  const inverted = info.getUint8(isTcp ? 11 : 8);
  // TCP options and flags, which a first packet may have or not.
  const hasMore = isTcp && (info.getUint8(8) !== 0 || info.getUint8(9) !== 0);
  return [
    ...(sourceFrom === 0 && sourceTo === 65_535
      ? []
      : portExpressions([[sourceFrom, sourceTo]], (inverted & 1) !== 0, 0)),
    ...(from === 0 && to === 65_535 ? [] : portExpressions([[from, to]], (inverted & 2) !== 0)),
    ...(hasMore ? unknown : []),
  ];
}

const MULTIPORT_DESTINATION = 1;
const MULTIPORT_PORTS = 15;

/** struct xt_multiport_v1: flags, count, ports[15], pflags[15] (the next port ends a range), invert. */
function readMultiport(info: DataView): readonly Expression[] {
  if (info.getUint8(0) !== MULTIPORT_DESTINATION) return unknown;
  const count = Math.min(info.getUint8(1), MULTIPORT_PORTS);
  const ranges: PortRange[] = [];
  for (let at = 0; at < count; at++) {
    const from = info.getUint16(2 + at * 2, true);
    const isRange = info.getUint8(32 + at) !== 0 && at + 1 < count;
    ranges.push([from, isRange ? info.getUint16(2 + ++at * 2, true) : from]);
  }
  return portExpressions(ranges, info.getUint8(47) !== 0);
}

const CONNTRACK_STATE = 1;

/** struct xt_conntrack_mtinfo2 and 3: addresses (128 bytes), expiry, ports, then flags and masks. */
function readConntrack(revision: number, info: DataView): readonly Expression[] {
  if (revision < 2) return unknown;
  const [flags, inverted, states] = [146, 148, 150].map((at) => info.getUint16(at, true)) as [number, number, number];
  return flags === CONNTRACK_STATE ? stateExpressions(states, (inverted & CONNTRACK_STATE) !== 0) : unknown;
}

/** Bits above these tell of translations, which the packets that we try have not met. */
const XT_UNTRACKED = 1 << 8;
const NFT_UNTRACKED = 1 << 6;
const STATE_BITS = 0x1f;

function stateExpressions(states: number, isNegated: boolean): readonly Expression[] {
  return ctStateExpressions((states & STATE_BITS) | ((states & XT_UNTRACKED) !== 0 ? NFT_UNTRACKED : 0), isNegated);
}

/** `states`: NF_CT_STATE bits as `ct state` has them. */
export function ctStateExpressions(states: number, isNegated: boolean): readonly Expression[] {
  return [
    { type: "ct", register: REGISTER, key: nftCt.state },
    { type: "bitwise", source: REGISTER, register: REGISTER, mask: littleEndian32(states), xor: littleEndian32(0) },
    compare(isNegated ? nftCompare.equal : nftCompare.notEqual, littleEndian32(0)),
  ];
}

export function markExpressions(mark: number, mask: number, isNegated: boolean): readonly Expression[] {
  return [
    { type: "meta", register: REGISTER, key: nftMeta.mark },
    { type: "bitwise", source: REGISTER, register: REGISTER, mask: littleEndian32(mask), xor: littleEndian32(0) },
    compare(isNegated ? nftCompare.notEqual : nftCompare.equal, littleEndian32(mark)),
  ];
}

const INVERT_SOURCE = 1;
const INVERT_DESTINATION = 2;
const LIMIT_TO_DEVICE = 0xc;

/** struct xt_addrtype_info_v1: types of source and destination as bits, flags. */
function readAddressType(info: DataView): readonly Expression[] {
  const flags = info.getUint32(4, true);
  if ((flags & LIMIT_TO_DEVICE) !== 0) return unknown;
  return [
    ...addressTypeExpressions("source", info.getUint16(0, true), (flags & INVERT_SOURCE) !== 0),
    ...addressTypeExpressions("destination", info.getUint16(2, true), (flags & INVERT_DESTINATION) !== 0),
  ];
}

/** `types`: a bit for each RTN_*; 0: any. */
export function addressTypeExpressions(
  of: "source" | "destination",
  types: number,
  isNegated: boolean,
): readonly Expression[] {
  if (types === 0) return harmless;
  const wanted = Array.from({ length: 16 }, (_, type) => type).filter((type) => (types & (1 << type)) !== 0);
  return [
    { type: "addressType", register: REGISTER, of },
    {
      type: "among",
      register: REGISTER,
      ranges: wanted.map((type) => [littleEndian32(type), littleEndian32(type)]),
      isNegated,
    },
  ];
}

/** Which of the two `fib` looks up; undefined: something else. */
export function addressTypeOf(result: number, flags: number): "source" | "destination" | undefined {
  if (result !== nftFib.resultAddressType) return undefined;
  return flags === nftFib.source ? "source" : flags === nftFib.destination ? "destination" : undefined;
}

function compare(operation: number, value: Uint8Array): Expression {
  return { type: "compare", register: REGISTER, operation, value };
}

function littleEndian32(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
}

function bigEndian16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value);
}
