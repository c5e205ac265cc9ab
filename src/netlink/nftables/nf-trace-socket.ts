// Has the kernel tell what each rule of the host does to a few packets, with a table of its own that goes with this process: from
// Linux 5.12 on the kernel takes it away with the socket, whatever ends the process; on older ones whoever traces next does.
import { FlannelError, hasCode } from "../../errors.ts";
import { fromErrno, hasErrno } from "../../sys/errno.ts";
import { isProcessAlive } from "../../sys/process-alive.ts";
import { decodeAcknowledgement, messagesIn } from "../message-frames.ts";
import { MessageWriter } from "../message-writer.ts";
import { NetlinkSocket } from "../netlink-socket.ts";
import { NETLINK_NETFILTER, NFNLGRP_NFTRACE, nfproto, nlmsg } from "../uapi.ts";
import { encodeTablesQuery } from "./objects.ts";
import {
  decodeTableName,
  decodeTraceNote,
  encodeRemoval,
  encodeTraceTable,
  type TracedFlow,
  type TraceNote,
} from "./trace-messages.ts";

/** With the number of the process behind it. */
const TRACE_TABLE_PREFIX = "flannel-trace-";
const RECEIVE_BUFFER_BYTES = 1024 * 1024;
const MAX_DATAGRAMS = 1_024;
/** `unsupported`, `invalid`: kernels without the flag say one or the other. */
const noOwners = ["EOPNOTSUPP", "EINVAL"];

export class NfTraceSocket implements Disposable {
  readonly #owner: NetlinkSocket;
  readonly #notes: NetlinkSocket;
  readonly #table: string;

  private constructor(owner: NetlinkSocket, notes: NetlinkSocket, table: string) {
    this.#owner = owner;
    this.#notes = notes;
    this.#table = table;
  }

  /** In the calling thread's network namespace. Throws a FlannelError when the kernel has no nf_tables, or refuses. */
  static open(flows: readonly TracedFlow[]): NfTraceSocket {
    const table = `${TRACE_TABLE_PREFIX}${process.pid}`;
    const owner = openPlain();
    try {
      try {
        makeTable(owner, table, flows, true);
      } catch (error) {
        if (!noOwners.some((name) => hasErrno(error, name))) throw error;
        makeTable(owner, table, flows, false);
      }
      const groups = [NFNLGRP_NFTRACE];
      const notes = NetlinkSocket.open({
        protocol: NETLINK_NETFILTER,
        receiveBufferBytes: RECEIVE_BUFFER_BYTES,
        groups,
      });
      return new NfTraceSocket(owner, notes, table);
    } catch (error) {
      owner[Symbol.dispose]();
      throw error;
    }
  }

  /** What came, and whether more came than could be kept. */
  receive(): { readonly notes: readonly TraceNote[]; readonly isWhole: boolean } {
    const notes: TraceNote[] = [];
    let isWhole = true;
    for (let read = 0; read < MAX_DATAGRAMS; read++) {
      try {
        const length = this.#notes.receive();
        if (length === undefined) return { notes, isWhole };
        for (const frame of messagesIn(this.#notes.view, length)) {
          const note = decodeTraceNote(this.#notes.view, frame);
          if (note !== undefined && !note.table.startsWith(TRACE_TABLE_PREFIX)) notes.push(note);
        }
      } catch (error) {
        if (!hasErrno(error, "ENOBUFS")) throw error;
        isWhole = false;
      }
    }
    return { notes, isWhole: false };
  }

  /** The table goes. */
  [Symbol.dispose](): void {
    this.#notes[Symbol.dispose]();
    try {
      remove(this.#owner, this.#table);
    } catch {
      // Gone already, or it goes with the socket.
    }
    this.#owner[Symbol.dispose]();
  }
}

/** Tables of processes that are no more, on kernels that do not take them away by themselves. Returns their names. */
export function removeLeftTraceTables(isDryRun = false): string[] {
  let socket: NetlinkSocket;
  try {
    socket = openPlain();
  } catch (error) {
    // Without netfilter there are no tables.
    if (hasCode(error, "KERNEL_UNSUPPORTED", "KERNEL_DENIED")) return [];
    throw error;
  }
  try {
    const left = tableNames(socket).filter((name) => {
      const pid = new RegExp(`^${TRACE_TABLE_PREFIX}(\\d{1,10})$`).exec(name)?.[1];
      return pid !== undefined && !isProcessAlive(Number(pid));
    });
    return left.filter((name) => isDryRun || tryRemove(socket, name));
  } finally {
    socket[Symbol.dispose]();
  }
}

function tryRemove(socket: NetlinkSocket, table: string): boolean {
  try {
    remove(socket, table);
    return true;
  } catch {
    // Another one was faster, or its owner lives in another pid namespace.
    return false;
  }
}

function openPlain(): NetlinkSocket {
  return NetlinkSocket.open({ protocol: NETLINK_NETFILTER, receiveBufferBytes: 256 * 1024 });
}

function makeTable(socket: NetlinkSocket, table: string, flows: readonly TracedFlow[], isOwned: boolean): void {
  const writer = new MessageWriter();
  encodeTraceTable(writer, table, flows, isOwned);
  transact(socket, writer, `make the nf_tables table ${table}`);
}

function remove(socket: NetlinkSocket, table: string): void {
  const writer = new MessageWriter();
  encodeRemoval(writer, table);
  transact(socket, writer, `remove the nf_tables table ${table}`);
}

/** All messages between the first and the last are acknowledged, as are refusals of the whole. */
function transact(socket: NetlinkSocket, writer: MessageWriter, operation: string): void {
  socket.send(writer.written);
  for (;;) {
    const length = socket.receive();
    if (length === undefined) return;
    for (const frame of messagesIn(socket.view, length)) {
      if (frame.type !== nlmsg.error) continue;
      const { errno, kernelText } = decodeAcknowledgement(socket.view, frame);
      if (errno !== 0) {
        drain(socket);
        throw fromErrno(operation, errno, { kernelText });
      }
    }
  }
}

function drain(socket: NetlinkSocket): void {
  while (socket.receive() !== undefined);
}

/** Of the family inet, in which ours are. */
function tableNames(socket: NetlinkSocket): string[] {
  const writer = new MessageWriter();
  encodeTablesQuery(writer);
  socket.send(writer.written);
  const names: string[] = [];
  for (;;) {
    const length = socket.receive();
    if (length === undefined)
      throw new FlannelError("KERNEL_REJECTED", "the kernel does not list its nf_tables tables");
    for (const frame of messagesIn(socket.view, length)) {
      if (frame.type === nlmsg.error || frame.type === nlmsg.done) return names;
      const name = decodeTableName(socket.view, frame);
      if (name !== undefined && socket.view.getUint8(frame.start) === nfproto.inet) names.push(name);
    }
  }
}
