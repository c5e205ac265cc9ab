// Reads chains, rules and sets of nf_tables from the kernel, without a program and one chain at a time, so that of the tens of
// thousands of rules of a busy host only those are read that are asked for.
import { setTimeout as sleep } from "node:timers/promises";
import { FlannelError } from "../../errors.ts";
import { errnoName } from "../../sys/errno.ts";
import { decodeAcknowledgement, type MessageFrame, messagesIn } from "../message-frames.ts";
import { MessageWriter } from "../message-writer.ts";
import { NetlinkSocket } from "../netlink-socket.ts";
import { NETLINK_NETFILTER, nftMessage, nlm, nlmsg } from "../uapi.ts";
import type { Expression, KernelChain, KernelElement, KernelRule, KernelSet } from "./expressions.ts";
import {
  decodeChain,
  decodeDormantTable,
  decodeElements,
  decodeRule,
  decodeSet,
  encodeChainsQuery,
  encodeElementsQuery,
  encodeRulesQuery,
  encodeSetQuery,
  encodeTablesQuery,
  typeOfMessage,
} from "./objects.ts";

/** A chain or a set of a table. */
export interface NamedObject {
  /** NFPROTO_*. */
  readonly family: number;
  readonly table: string;
  readonly name: string;
}

const MAX_ATTEMPTS = 8;
const RETRY_DELAY_MS = 20;
/** Errno with which the kernel says that there is no such object, or no such family. */
const ENOENT = 2;
const EOPNOTSUPP = 95;

/** One question at a time. Whatever is sent is answered before `send` returns or while the answer is received: nothing waits. */
export class NfTablesQuerySocket implements Disposable {
  readonly #socket: NetlinkSocket;
  readonly #writer = new MessageWriter();
  /** Called after each datagram (at most 32 KiB), so that other work gets its turn. */
  readonly #pause: () => Promise<void>;
  #sequence = 0;

  private constructor(socket: NetlinkSocket, pause: () => Promise<void>) {
    this.#socket = socket;
    this.#pause = pause;
  }

  /** In the calling thread's network namespace. Throws a FlannelError when the kernel has no netfilter sockets. */
  static open(pause: () => Promise<void>): NfTablesQuerySocket {
    return new NfTablesQuerySocket(
      NetlinkSocket.open({ protocol: NETLINK_NETFILTER, receiveBufferBytes: 256 * 1024 }),
      pause,
    );
  }

  /** `2 filter`: protocol and name of tables whose chains do not hang in their hooks. */
  async dormantTables(): Promise<ReadonlySet<string>> {
    const read = (view: DataView, frame: MessageFrame, rows: string[]) => {
      const table = decodeDormantTable(view, frame);
      if (table !== undefined) rows.push(table);
    };
    return new Set(await this.#collect("tables", encodeTablesQuery, nftMessage.newTable, read));
  }

  /** Those that hang in a hook. */
  async baseChains(): Promise<KernelChain[]> {
    return await this.#collect("chains", encodeChainsQuery, nftMessage.newChain, (view, frame, rows: KernelChain[]) => {
      const chain = decodeChain(view, frame);
      if (chain?.hook !== undefined) rows.push(chain);
    });
  }

  /** Of a chain, in their order, those that `isWanted` (see `decodeRule`). Empty when there is no such chain. */
  async rules(chain: NamedObject, isWanted: (soFar: readonly Expression[]) => boolean): Promise<KernelRule[]> {
    return await this.#collect(
      `rules of ${chain.table} ${chain.name}`,
      (writer) => encodeRulesQuery(writer, chain.family, chain.table, chain.name),
      nftMessage.newRule,
      (view, frame, rows: KernelRule[]) => {
        const rule = decodeRule(view, frame, isWanted);
        if (rule !== undefined) rows.push(rule);
      },
    );
  }

  /** Undefined when there is no such set. */
  async set(set: NamedObject): Promise<KernelSet | undefined> {
    const rows = await this.#collect(
      `set ${set.table} ${set.name}`,
      (writer) => encodeSetQuery(writer, set.family, set.table, set.name),
      nftMessage.newSet,
      (view, frame, found: KernelSet[]) => found.push(decodeSet(view, frame)),
    );
    return rows[0];
  }

  /** At most a little more than `limit`: a longer set is not read to its end. */
  async elements(set: NamedObject, limit: number): Promise<KernelElement[]> {
    return await this.#collect(
      `elements of ${set.table} ${set.name}`,
      (writer) => encodeElementsQuery(writer, set.family, set.table, set.name),
      nftMessage.newSetElement,
      (view, frame, rows: KernelElement[]) => {
        if (rows.length <= limit) for (const element of decodeElements(view, frame)) rows.push(element);
      },
    );
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  async #collect<T>(
    what: string,
    encode: (writer: MessageWriter) => void,
    message: number,
    read: (view: DataView, frame: MessageFrame, rows: T[]) => void,
  ): Promise<T[]> {
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      const rows: T[] = [];
      const { errno, isInterrupted } = await this.#ask(encode, (frame) => {
        if (typeOfMessage(frame) === message) read(this.#socket.view, frame, rows);
      });
      if (errno === ENOENT || errno === EOPNOTSUPP) return [];
      if (errno !== 0) {
        const name = errnoName(errno);
        throw new FlannelError("FIREWALL_UNREADABLE", `the kernel refuses to list the ${what}: ${name}`, {
          retryable: true,
        });
      }
      if (!isInterrupted) return rows;
      await sleep(attempt * RETRY_DELAY_MS);
    }
    throw new FlannelError(
      "KERNEL_BUSY",
      `cannot list the ${what}: rules changed in each of ${MAX_ATTEMPTS} attempts`,
      {
        retryable: true,
      },
    );
  }

  /** `onMessage` must be done with the frame when it returns. */
  async #ask(
    encode: (writer: MessageWriter) => void,
    onMessage: (frame: MessageFrame) => void,
  ): Promise<{ errno: number; isInterrupted: boolean }> {
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#writer.clear();
    encode(this.#writer);
    this.#writer.stamp(0, this.#sequence, 0);
    this.#socket.send(this.#writer.written);
    let isInterrupted = false;
    for (;;) {
      const length = this.#socket.receive();
      if (length === undefined) {
        throw new FlannelError("KERNEL_REJECTED", "the kernel does not answer a question about nf_tables");
      }
      for (const frame of messagesIn(this.#socket.view, length)) {
        if (frame.sequence !== this.#sequence) continue;
        if ((frame.flags & nlm.dumpInterrupted) !== 0) isInterrupted = true;
        if (frame.type === nlmsg.error || frame.type === nlmsg.done) {
          return { errno: decodeAcknowledgement(this.#socket.view, frame).errno, isInterrupted };
        }
        onMessage(frame);
      }
      await this.#pause();
    }
  }
}
