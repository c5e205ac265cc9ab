// The kernel's own tables of neighbours: how many entries there are, how many there may be, and how often there was no room. They are
// those of the whole machine, whichever network namespace asks.
import type { Family } from "../../ip/address.ts";
import { AttributeReader } from "../attribute-reader.ts";
import { KernelDialogue } from "../dialogue-socket.ts";
import { NetlinkSocket } from "../netlink-socket.ts";
import { ipFamily } from "../request.ts";
import { AF_UNSPEC, NETLINK_ROUTE, NTF_EXT_LEARNED, ndta, nud, rtm } from "../uapi.ts";

export interface NeighbourTable {
  readonly family: Family;
  /** Of all network namespaces, also those that do not count against `max`. */
  readonly entries: number;
  /** gc_thresh3: of entries that the kernel may forget. */
  readonly max: number;
  /** Since the start of the kernel: how often an entry was refused. */
  readonly overflows: number;
}

/** struct ndtmsg */
const HEADER_BYTES = 4;
/** Where struct ndt_config has ndtc_entries, and struct ndt_stats has ndts_table_fulls. */
const ENTRIES_AT = 4;
const OVERFLOWS_AT = 80;

/** Throws the kernel's refusal. */
export function readNeighbourTables(): NeighbourTable[] {
  using socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE, receiveBufferBytes: 256 * 1024 });
  const found: NeighbourTable[] = [];
  new KernelDialogue(socket).request(
    {
      messageType: rtm.getNeighbourTable,
      operation: "list the tables of neighbours",
      isDump: true,
      writeBody: (writer) => writer.zeros(HEADER_BYTES),
    },
    (view, { type, start, end }) => {
      const table = type === rtm.newNeighbourTable ? decodeTable(view, start, end) : undefined;
      if (table !== undefined) found.push(table);
    },
  );
  return found;
}

export interface OwnNeighbours {
  /** Of this network namespace; against gc_thresh3. */
  readonly counted: number;
  /** Permanent ones, and those that a program keeps up to date: they do not count against it. */
  readonly exempt: number;
}

/** struct ndmsg: offsets. */
const neighbourAt = { state: 8, flags: 10, end: 12 } as const;

/** Throws the kernel's refusal; `KERNEL_BUSY` when neighbours changed meanwhile. */
export function countOwnNeighbours(): ReadonlyMap<Family, OwnNeighbours> {
  using socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE, receiveBufferBytes: 1024 * 1024 });
  const found = new Map<Family, { counted: number; exempt: number }>([
    [4, { counted: 0, exempt: 0 }],
    [6, { counted: 0, exempt: 0 }],
  ]);
  new KernelDialogue(socket).request(
    {
      messageType: rtm.getNeighbour,
      operation: "list neighbours",
      isDump: true,
      writeBody: (writer) => {
        writer.u32(AF_UNSPEC);
        writer.zeros(neighbourAt.end - 4);
      },
    },
    (view, { type, start, end }) => {
      if (type !== rtm.newNeighbour || start + neighbourAt.end > end) return;
      const family = ipFamily(view.getUint8(start));
      const numbers = family === undefined ? undefined : found.get(family);
      if (numbers === undefined) return;
      const isPermanent = (view.getUint16(start + neighbourAt.state, true) & nud.permanent) !== 0;
      const isLearned = (view.getUint8(start + neighbourAt.flags) & NTF_EXT_LEARNED) !== 0;
      numbers[isPermanent || isLearned ? "exempt" : "counted"]++;
    },
  );
  return found;
}

/** Undefined for what is said of single devices. */
function decodeTable(view: DataView, start: number, end: number): NeighbourTable | undefined {
  const family = start + HEADER_BYTES > end ? undefined : ipFamily(view.getUint8(start));
  if (family === undefined) return undefined;
  let [entries, max]: (number | undefined)[] = [];
  let overflows = 0;
  const reader = new AttributeReader(view, start + HEADER_BYTES, end);
  while (reader.next()) {
    const [from, to] = reader.bounds();
    if (reader.type === ndta.threshold3) max = reader.u32();
    else if (reader.type === ndta.config && to - from >= ENTRIES_AT + 4)
      entries = view.getUint32(from + ENTRIES_AT, true);
    // Kernels before 4.4 do not count it.
    else if (reader.type === ndta.statistics && to - from >= OVERFLOWS_AT + 8)
      overflows = Number(view.getBigUint64(from + OVERFLOWS_AT, true));
  }
  return entries === undefined || max === undefined ? undefined : { family, entries, max, overflows };
}
