// nf_tables notifications: which object a message is about, and who committed. Pure.
import { AttributeReader } from "../attribute-reader.ts";
import type { MessageFrame } from "../message-frames.ts";
import { NFNL_SUBSYS_NFTABLES, nfproto, nfta, nftaChain, nftaRule, nftaSet, nftMessage, nlm, nlmsg } from "../uapi.ts";

/** struct nfgenmsg: family, version, resource id. */
const HEADER_BYTES = 4;

/** Where something changed. */
export interface NfTablesTouch {
  readonly kind: "table" | "chain" | "rule" | "set";
  /** NFPROTO_* of the table. */
  readonly protocol: number;
  /** Undefined for families other than ip and ip6 (inet, bridge, …). */
  readonly family: 4 | 6 | undefined;
  readonly table: string;
  /** Of chains and rules; of sets and their elements the set. */
  readonly name?: string;
  readonly isRemoval: boolean;
  /** The chain hangs in a hook. A chain that goes need not say so. */
  readonly isBaseChain?: boolean;
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
  return readTouch(message, view.getUint8(frame.start), reader);
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

/** Attributes that name it; the name of a set and that of the set of elements have the same number. */
const nameAttributes = { rule: nftaRule.chain, chain: nftaChain.name, table: 0, set: nftaSet.name } as const;

function readTouch(message: number, protocol: number, reader: AttributeReader): NfTablesTouch | undefined {
  const kind = kindOf(message);
  if (kind === undefined) return undefined;
  const { table, ...named } = readNames(kind, reader);
  if (table === undefined) return undefined;
  const family = protocol === nfproto.ipv4 ? 4 : protocol === nfproto.ipv6 ? 6 : undefined;
  return { kind, protocol, family, table, isRemoval: removals.has(message), ...named };
}

/** Which object a message is about; the rest of the message is not read. */
function readNames(
  kind: NfTablesTouch["kind"],
  reader: AttributeReader,
): Partial<Pick<NfTablesTouch, "table" | "name" | "isBaseChain">> {
  const nameAttribute = nameAttributes[kind];
  let [table, name]: (string | undefined)[] = [];
  let isBaseChain = false;
  while (reader.next()) {
    if (reader.type === nfta.table) table = reader.text();
    else if (reader.type === nameAttribute) name = reader.text();
    else if (kind === "chain" && reader.type === nftaChain.hook) isBaseChain = true;
    // Both stand near the beginning; what a rule does, which is long, follows.
    if (table !== undefined && kind !== "chain" && (nameAttribute === 0 || name !== undefined)) break;
  }
  return {
    ...(table !== undefined && { table }),
    ...(name !== undefined && { name }),
    ...(isBaseChain && { isBaseChain }),
  };
}

const removals: ReadonlySet<number> = new Set([
  nftMessage.deleteTable,
  nftMessage.deleteChain,
  nftMessage.deleteRule,
  nftMessage.deleteSet,
  nftMessage.deleteSetElement,
]);

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
