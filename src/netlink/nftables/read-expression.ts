// One expression of a rule out of its attributes. Pure; input is hostile: what is too short or not known is `unknown`, and what
// only counts or tells is left out.
import { AttributeReader, readText } from "../attribute-reader.ts";
import { nftMeta } from "../uapi.ts";
import type { Expression, RegisterOffset } from "./expressions.ts";
import { addressTypeOf, expressionsOfMatch, expressionsOfTarget } from "./extensions.ts";
import { readData } from "./rule-data.ts";

const unknown: readonly Expression[] = [{ type: "unknown" }];
const rewriting: readonly Expression[] = [{ type: "verdict", verdict: { type: "rewrite" } }];
const accepting: readonly Expression[] = [{ type: "verdict", verdict: { type: "accept" } }];
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;

/** They never end a rule, whatever they hold. */
const harmless: ReadonlySet<string> = new Set([
  ...["counter", "log", "notrack", "last", "flow_offload", "dup", "objref", "secmark"],
]);
/** They take the packet, or let a program decide. */
const taking: ReadonlySet<string> = new Set(["queue", "tproxy", "synproxy", "fwd"]);

/** `reader` stands before NFTA_EXPR_NAME. */
export function readExpression(view: DataView, reader: AttributeReader): readonly Expression[] {
  let name = "";
  while (reader.next()) {
    if (reader.type === NFTA_EXPR_NAME) name = reader.text();
    else if (reader.type === NFTA_EXPR_DATA) return readNamed(name, attributes.read(view, reader.nested()));
  }
  return simple(name);
}

/** An expression without data. */
function simple(name: string): readonly Expression[] {
  if (harmless.has(name)) return [];
  if (name === "reject") return [{ type: "verdict", verdict: { type: "reject" } }];
  if (name === "redir") return rewriting;
  if (name === "masq") return accepting;
  if (taking.has(name)) return [{ type: "verdict", verdict: { type: "unknown" } }];
  return unknown;
}

/** The highest type that any expression read here has. */
const MAX_ATTRIBUTE = 8;
const none = new DataView(new ArrayBuffer(0));

/** One for all expressions: tens of thousands are read in one go. */
class Attributes {
  #view: DataView = none;
  readonly #starts = new Uint32Array(MAX_ATTRIBUTE + 1);
  readonly #ends = new Uint32Array(MAX_ATTRIBUTE + 1);

  /** What was read before is gone. */
  read(view: DataView, reader: AttributeReader): this {
    this.#view = view;
    this.#starts.fill(0);
    this.#ends.fill(0);
    while (reader.next()) {
      if (reader.type > MAX_ATTRIBUTE) continue;
      const [start, end] = reader.bounds();
      this.#starts[reader.type] = start;
      this.#ends[reader.type] = end;
    }
    return this;
  }

  number(type: number): number | undefined {
    const start = this.#start(type);
    return this.#end(type) - start < 4 ? undefined : this.#view.getUint32(start, false);
  }

  text(type: number): string {
    return readText(this.#view, this.#start(type), this.#end(type));
  }

  data(type: number): ReturnType<typeof readData> {
    return readData(this.#view, new AttributeReader(this.#view, this.#start(type), this.#end(type)));
  }

  register(type: number): RegisterOffset | undefined {
    return registerOffset(this.number(type));
  }

  bytes(type: number): DataView {
    const start = this.#start(type);
    return new DataView(this.#view.buffer, this.#view.byteOffset + start, this.#end(type) - start);
  }

  #start(type: number): number {
    return this.#starts[type] ?? 0;
  }

  #end(type: number): number {
    return this.#ends[type] ?? 0;
  }
}

const attributes = new Attributes();

/** NFT_REG_1 to NFT_REG_4 hold 16 bytes, NFT_REG32_00 (8) to NFT_REG32_15 four of the same. */
function registerOffset(register: number | undefined): RegisterOffset | undefined {
  if (register === undefined) return undefined;
  if (register >= 1 && register <= 4) return (register - 1) * 16;
  return register >= 8 && register <= 23 ? (register - 8) * 4 : undefined;
}

function readNamed(name: string, from: Attributes): readonly Expression[] {
  switch (name) {
    case "payload":
      return readPayload(from);
    case "meta":
      return readMeta(from);
    case "ct":
      return readCt(from);
    case "fib":
      return readFib(from);
    case "bitwise":
      return readBitwise(from);
    case "cmp":
      return readCompare(from);
    case "range":
      return readRange(from);
    case "lookup":
      return readLookup(from);
    case "immediate":
      return readImmediate(from);
    case "nat":
      return from.number(1) === NFT_NAT_DNAT ? rewriting : accepting;
    case "match":
      return readMatch(from);
    case "target":
      return readTarget(from);
    default:
      return simple(name);
  }
}

function readPayload(from: Attributes): readonly Expression[] {
  const register = from.register(1);
  const [base, offset, length] = [from.number(2), from.number(3), from.number(4)];
  // Without a register it writes into the packet.
  if (register === undefined) return unknown;
  if (base === undefined || offset === undefined || length === undefined || length > 16) return unknown;
  return [{ type: "payload", register, base, offset, length }];
}

function readMeta(from: Attributes): readonly Expression[] {
  const [register, key, source] = [from.register(1), from.number(2), from.register(3)];
  if (key === undefined) return unknown;
  if (source !== undefined) return key === nftMeta.mark ? [{ type: "setMark", register: source }] : [];
  return register === undefined ? unknown : [{ type: "meta", register, key }];
}

function readCt(from: Attributes): readonly Expression[] {
  const [register, key] = [from.register(1), from.number(2)];
  // Otherwise it sets something of the connection.
  if (register === undefined) return from.register(4) === undefined ? unknown : [];
  return key === undefined ? unknown : [{ type: "ct", register, key }];
}

function readFib(from: Attributes): readonly Expression[] {
  const register = from.register(1);
  const of = addressTypeOf(from.number(2) ?? -1, from.number(3) ?? 0);
  return register === undefined || of === undefined ? unknown : [{ type: "addressType", register, of }];
}

function readBitwise(from: Attributes): readonly Expression[] {
  const [source, register] = [from.register(1), from.register(2)];
  const [mask, xor] = [from.data(4).value, from.data(5).value];
  // Shifts, and two registers at once.
  if ((from.number(6) ?? 0) !== 0) return unknown;
  if (source === undefined || register === undefined || mask === undefined || xor === undefined) return unknown;
  return mask.length === xor.length ? [{ type: "bitwise", source, register, mask, xor }] : unknown;
}

function readCompare(from: Attributes): readonly Expression[] {
  const [register, operation, value] = [from.register(1), from.number(2), from.data(3).value];
  if (register === undefined || operation === undefined || value === undefined) return unknown;
  return [{ type: "compare", register, operation, value }];
}

function readRange(from: Attributes): readonly Expression[] {
  const [register, first, last] = [from.register(1), from.data(3).value, from.data(4).value];
  if (register === undefined || first === undefined || last === undefined || first.length !== last.length)
    return unknown;
  return [{ type: "among", register, ranges: [[first, last]], isNegated: from.number(2) === 1 }];
}

const NFT_NAT_DNAT = 1;
const NFT_LOOKUP_INVERTED = 1;

function readLookup(from: Attributes): readonly Expression[] {
  const [set, register, into] = [from.text(1), from.register(2), from.number(3)];
  // A map other than one of verdicts loads what it holds.
  if (register === undefined || set === "" || (into !== undefined && into !== 0)) return unknown;
  const isNegated = ((from.number(5) ?? 0) & NFT_LOOKUP_INVERTED) !== 0;
  return [{ type: "lookup", register, set, isNegated, givesVerdict: into === 0 }];
}

function readImmediate(from: Attributes): readonly Expression[] {
  const { value, verdict } = from.data(2);
  if (verdict !== undefined) return [{ type: "verdict", verdict }];
  const register = from.register(1);
  return register === undefined || value === undefined ? unknown : [{ type: "immediate", register, value }];
}

function readMatch(from: Attributes): readonly Expression[] {
  return expressionsOfMatch(from.text(1), from.number(2) ?? 0, from.bytes(3));
}

function readTarget(from: Attributes): readonly Expression[] {
  const name = from.text(1);
  if (name === "REJECT") return [{ type: "verdict", verdict: { type: "reject" } }];
  if (/^(DNAT|REDIRECT|NETMAP)$/.test(name)) return rewriting;
  if (/^(NFQUEUE|QUEUE|TPROXY|SYNPROXY)$/.test(name)) return [{ type: "verdict", verdict: { type: "unknown" } }];
  return expressionsOfTarget(name, from.number(2) ?? 0, from.bytes(3));
}
