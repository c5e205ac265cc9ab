// nf_tables notifications: which object a message is about, and who committed. Pure.
import { AttributeReader } from "../attribute-reader.ts";
import type { MessageFrame } from "../message-frames.ts";
import { AF_INET, AF_INET6, NFNL_SUBSYS_NFTABLES, nfta, nftMessage, nlm, nlmsg } from "../uapi.ts";

/** struct nfgenmsg: family, version, resource id. */
const HEADER_BYTES = 4;

/** Where something changed. */
export interface NfTablesTouch {
  readonly kind: "table" | "chain" | "rule" | "set";
  /** Undefined for families other than ip and ip6 (inet, bridge, …). */
  readonly family: 4 | 6 | undefined;
  readonly table: string;
  /** Set for chains and rules. */
  readonly chain?: string;
}

/** The end of a transaction. */
export interface NfTablesGeneration {
  /** Rises by one with every commit; wraps at 2³². */
  readonly id: number;
  /** As the initial pid namespace counts; 0 when the kernel does not say. */
  readonly pid: number;
  /** Name of the program that committed; empty when the kernel does not say. */
  readonly program: string;
}

export function decodeNfTables(view: DataView, frame: MessageFrame): NfTablesTouch | NfTablesGeneration | undefined {
  if (frame.type >> 8 !== NFNL_SUBSYS_NFTABLES || frame.start + HEADER_BYTES > frame.end) return undefined;
  const message = frame.type & 0xff;
  const reader = new AttributeReader(view, frame.start + HEADER_BYTES, frame.end);
  if (message === nftMessage.newGeneration) return readGeneration(reader);
  const family = view.getUint8(frame.start);
  return readTouch(message, family === AF_INET ? 4 : family === AF_INET6 ? 6 : undefined, reader);
}

function readGeneration(reader: AttributeReader): NfTablesGeneration | undefined {
  let id: number | undefined;
  let [pid, program] = [0, ""];
  while (reader.next()) {
    if (reader.type === nfta.generationId) id = reader.u32BigEndian();
    else if (reader.type === nfta.processId) pid = reader.u32BigEndian() ?? 0;
    else if (reader.type === nfta.processName) program = reader.text();
  }
  return id === undefined ? undefined : { id, pid, program };
}

function readTouch(message: number, family: 4 | 6 | undefined, reader: AttributeReader): NfTablesTouch | undefined {
  const kind = kindOf(message);
  if (kind === undefined) return undefined;
  const chainAttribute = { rule: nfta.ruleChain, chain: nfta.chainName, table: 0, set: 0 }[kind];
  let [table, chain]: (string | undefined)[] = [];
  while (reader.next()) {
    if (reader.type === nfta.table) table = reader.text();
    else if (reader.type === chainAttribute) chain = reader.text();
    // Both stand near the beginning; what a rule does, which is long, follows.
    if (table !== undefined && (chainAttribute === 0 || chain !== undefined)) break;
  }
  return table === undefined ? undefined : { kind, family, table, ...(chain === undefined ? {} : { chain }) };
}

function kindOf(message: number): NfTablesTouch["kind"] | undefined {
  switch (message) {
    case nftMessage.newTable:
    case nftMessage.deleteTable:
      return "table";
    case nftMessage.newChain:
    case nftMessage.deleteChain:
      return "chain";
    case nftMessage.newRule:
    case nftMessage.deleteRule:
      return "rule";
    case nftMessage.newSet:
    case nftMessage.deleteSet:
    case nftMessage.newSetElement:
    case nftMessage.deleteSetElement:
      return "set";
    default:
      return undefined;
  }
}

/** Asks for the generation; the answer is a message that `decodeNfTables` reads. */
export function generationRequest(): Uint8Array {
  const bytes = new Uint8Array(nlmsg.headerBytes + HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, (NFNL_SUBSYS_NFTABLES << 8) | nftMessage.getGeneration, true);
  view.setUint16(6, nlm.request, true);
  return bytes;
}
