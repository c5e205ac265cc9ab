// A table that has certain packets traced through all rules of the host, and what the kernel tells of them. Pure; input is hostile.
import { AttributeReader } from "../attribute-reader.ts";
import type { MessageFrame } from "../message-frames.ts";
import type { MessageWriter } from "../message-writer.ts";
import {
  NFNL_SUBSYS_NFTABLES,
  NFT_TABLE_OWNER,
  nfHook,
  nfnlBatch,
  nfproto,
  nfta,
  nftaChain,
  nftaCompare,
  nftaData,
  nftaExpression,
  nftaHook,
  nftaImmediate,
  nftaMeta,
  nftaPayload,
  nftaRule,
  nftaTable,
  nftaTrace,
  nftaVerdict,
  nftCompare,
  nftMessage,
  nftMeta,
  nftPayloadBase,
  nftTraceType,
  nftVerdict,
  nlm,
} from "../uapi.ts";

/** Packets of one size between these addresses, each as bytes; a missing one is any. */
export interface TracedFlow {
  readonly source?: Uint8Array;
  readonly destination?: Uint8Array;
  /** Of the whole IP packet. */
  readonly packetBytes: number;
}

/** What a rule, or the policy of a chain, did to a traced packet. */
export interface TraceNote {
  /** The same for all notes of one packet on one stretch of its way. */
  readonly id: number;
  /** NFPROTO_* of the table. */
  readonly family: number;
  readonly table: string;
  readonly chain: string;
  /** Of the rule; missing: the policy. */
  readonly handle?: string;
  readonly isDrop: boolean;
  /** Not in every note of a packet. */
  readonly ipHeader?: Uint8Array;
  readonly incomingIndex?: number;
  readonly outgoingIndex?: number;
}

/** Before NF_IP_PRI_RAW, and before the tracking of connections. */
const PRIORITY = -350;
const LIST_ELEMENT = 1;
const REGISTER = 1;
const CHAINS = [
  ["in", nfHook.prerouting],
  ["out", nfHook.output],
] as const;

/** One transaction that makes the table. `isOwned`: it goes with the socket that sends this. */
export function encodeTraceTable(
  writer: MessageWriter,
  table: string,
  flows: readonly TracedFlow[],
  isOwned: boolean,
): void {
  writeBatch(writer, nfnlBatch.begin);
  write(writer, nftMessage.newTable, nlm.create, () => {
    writer.textAttribute(nfta.table, table);
    if (isOwned) writer.u32BigEndianAttribute(nftaTable.flags, NFT_TABLE_OWNER);
  });
  for (const [chain, hook] of CHAINS) {
    write(writer, nftMessage.newChain, nlm.create, () => {
      writer.textAttribute(nfta.table, table);
      writer.textAttribute(nftaChain.name, chain);
      const nest = writer.beginMarkedNest(nftaChain.hook);
      writer.u32BigEndianAttribute(nftaHook.number, hook);
      writer.u32BigEndianAttribute(nftaHook.priority, PRIORITY >>> 0);
      writer.endNest(nest);
      writer.u32BigEndianAttribute(nftaChain.policy, nftVerdict.accept);
      writer.textAttribute(nftaChain.type, "filter");
    });
    for (const flow of flows) {
      // NLM_F_APPEND.
      write(writer, nftMessage.newRule, nlm.create | 0x800, () => writeRule(writer, table, chain, flow));
    }
  }
  writeBatch(writer, nfnlBatch.end);
}

export function encodeRemoval(writer: MessageWriter, table: string): void {
  writeBatch(writer, nfnlBatch.begin);
  write(writer, nftMessage.deleteTable, 0, () => writer.textAttribute(nfta.table, table));
  writeBatch(writer, nfnlBatch.end);
}

function writeBatch(writer: MessageWriter, type: number): void {
  const start = writer.begin(type, nlm.request);
  writer.u8(0);
  writer.u8(0);
  // The resource, in network order.
  writer.u8(0);
  writer.u8(NFNL_SUBSYS_NFTABLES);
  writer.end(start);
}

function write(writer: MessageWriter, message: number, flags: number, body: () => void): void {
  const start = writer.begin((NFNL_SUBSYS_NFTABLES << 8) | message, nlm.request | nlm.ack | flags);
  writer.u8(nfproto.inet);
  writer.zeros(3);
  body();
  writer.end(start);
}

function writeRule(writer: MessageWriter, table: string, chain: string, flow: TracedFlow): void {
  const { source, destination, packetBytes } = flow;
  writer.textAttribute(nfta.table, table);
  writer.textAttribute(nftaRule.chain, chain);
  const isIpv6 = (source ?? destination)?.length === 16;
  const list = writer.beginMarkedNest(nftaRule.expressions);
  loadMeta(writer, nftMeta.netfilterProtocol);
  compare(writer, Uint8Array.of(isIpv6 ? nfproto.ipv6 : nfproto.ipv4));
  for (const [address, offset] of [
    [source, isIpv6 ? 8 : 12],
    [destination, isIpv6 ? 24 : 16],
  ] as const) {
    if (address === undefined) continue;
    expression(writer, "payload", () => {
      writer.u32BigEndianAttribute(nftaPayload.destination, REGISTER);
      writer.u32BigEndianAttribute(nftaPayload.base, nftPayloadBase.network);
      writer.u32BigEndianAttribute(nftaPayload.offset, offset);
      writer.u32BigEndianAttribute(nftaPayload.length, address.length);
    });
    compare(writer, address);
  }
  loadMeta(writer, nftMeta.length);
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, packetBytes, true);
  compare(writer, size);
  expression(writer, "immediate", () => {
    writer.u32BigEndianAttribute(nftaImmediate.destination, REGISTER);
    const data = writer.beginMarkedNest(nftaImmediate.data);
    writer.bytesAttribute(nftaData.value, Uint8Array.of(1));
    writer.endNest(data);
  });
  expression(writer, "meta", () => {
    writer.u32BigEndianAttribute(nftaMeta.key, nftMeta.trace);
    writer.u32BigEndianAttribute(nftaMeta.source, REGISTER);
  });
  writer.endNest(list);
}

function loadMeta(writer: MessageWriter, key: number): void {
  expression(writer, "meta", () => {
    writer.u32BigEndianAttribute(nftaMeta.destination, REGISTER);
    writer.u32BigEndianAttribute(nftaMeta.key, key);
  });
}

function compare(writer: MessageWriter, value: Uint8Array): void {
  expression(writer, "cmp", () => {
    writer.u32BigEndianAttribute(nftaCompare.source, REGISTER);
    writer.u32BigEndianAttribute(nftaCompare.operation, nftCompare.equal);
    const data = writer.beginMarkedNest(nftaCompare.data);
    writer.bytesAttribute(nftaData.value, value);
    writer.endNest(data);
  });
}

function expression(writer: MessageWriter, name: string, body: () => void): void {
  const element = writer.beginMarkedNest(LIST_ELEMENT);
  writer.textAttribute(nftaExpression.name, name);
  const data = writer.beginMarkedNest(nftaExpression.data);
  body();
  writer.endNest(data);
  writer.endNest(element);
}

/** Undefined for other messages, and for what is no verdict of a rule or of a chain. */
export function decodeTraceNote(view: DataView, { type, start, end }: MessageFrame): TraceNote | undefined {
  if (type !== ((NFNL_SUBSYS_NFTABLES << 8) | nftMessage.trace) || start + 4 > end) return undefined;
  const reader = new AttributeReader(view, start + 4, end);
  const { kind, id, table, chain, isDrop, handle, ...rest } = readTraceAttributes(view, reader);
  if (id === undefined || table === undefined || chain === undefined) return undefined;
  if (kind !== nftTraceType.rule && kind !== nftTraceType.policy) return undefined;
  const isOfRule = kind === nftTraceType.rule && handle !== undefined;
  return { id, family: view.getUint8(start), table, chain, isDrop, ...(isOfRule && { handle }), ...rest };
}

/** `kind`: one of `nftTraceType`. `isDrop`: the verdict or the chain's policy is drop. */
interface TraceAttributes {
  kind?: number | undefined;
  id?: number;
  table?: string;
  chain?: string;
  handle?: string;
  isDrop: boolean;
  ipHeader?: Uint8Array;
  incomingIndex?: number;
  outgoingIndex?: number;
}

function readTraceAttributes(view: DataView, reader: AttributeReader): TraceAttributes {
  const found: TraceAttributes = { isDrop: false };
  while (reader.next()) {
    switch (reader.type) {
      case nftaTrace.table:
        found.table = reader.text();
        break;
      case nftaTrace.chain:
        found.chain = reader.text();
        break;
      case nftaTrace.ruleHandle:
        found.handle = readHandle(view, reader);
        break;
      case nftaTrace.type:
        found.kind = reader.u32BigEndian();
        break;
      case nftaTrace.verdict:
        found.isDrop ||= readVerdict(reader.nested()) === nftVerdict.drop;
        break;
      case nftaTrace.policy:
        found.isDrop ||= reader.u32BigEndian() === nftVerdict.drop;
        break;
      case nftaTrace.id:
        found.id = reader.u32BigEndian() ?? 0;
        break;
      case nftaTrace.networkHeader:
        found.ipHeader = reader.bytes();
        break;
      case nftaTrace.incomingIndex:
        found.incomingIndex = reader.u32BigEndian() ?? 0;
        break;
      case nftaTrace.outgoingIndex:
        found.outgoingIndex = reader.u32BigEndian() ?? 0;
        break;
    }
  }
  return found;
}

function readHandle(view: DataView, reader: AttributeReader): string {
  const [start, end] = reader.bounds();
  return end - start < 8 ? "" : String(view.getBigUint64(start, false));
}

function readVerdict(reader: AttributeReader): number | undefined {
  while (reader.next()) if (reader.type === nftaVerdict.code) return (reader.u32BigEndian() ?? 0) | 0;
  return undefined;
}

/** The name of a table; undefined for other messages. */
export function decodeTableName(view: DataView, { type, start, end }: MessageFrame): string | undefined {
  if (type !== ((NFNL_SUBSYS_NFTABLES << 8) | nftMessage.newTable)) return undefined;
  const reader = new AttributeReader(view, start + 4, end);
  while (reader.next()) if (reader.type === nfta.table) return reader.text();
  return undefined;
}
