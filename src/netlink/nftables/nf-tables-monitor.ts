// Tells who changes the rule set of nf_tables, and whether what we watch was touched. Reading the generation costs
// microseconds and starts no process.
import { messagesIn } from "../message-frames.ts";
import { NetlinkSocket } from "../netlink-socket.ts";
import { NETLINK_NETFILTER, NFNLGRP_NFTABLES } from "../uapi.ts";
import type { Expression, KernelRule } from "./expressions.ts";
import { decodeNfTables, generationRequest, type NfTablesGeneration, type NfTablesTouch } from "./nf-tables.ts";
import { decodeRule, decodeRuleHandle } from "./objects.ts";

/** A message about a rule that was added or removed. */
export interface RuleNotice {
  /** See `KernelRule`. */
  handle(): string;
  /** See `decodeRule`. */
  rule(isWanted: (soFar: readonly Expression[]) => boolean): KernelRule | undefined;
}

export interface NfTablesMonitorOptions<Interest> {
  /**
   * What of ours lies there; undefined: nothing. Called for every object of every transaction. `message` reads it as a rule, until
   * this returns.
   */
  readonly interestIn: (touch: NfTablesTouch, message: RuleNotice) => Interest | undefined;
  /** One transaction, with what it touched of ours, which may be nothing. Ours too. Must not throw. */
  readonly onCommit: (generation: NfTablesGeneration, touched: ReadonlySet<Interest>) => void;
  /** Notifications were lost. */
  readonly onOverflow: () => void;
}

/** A program that reloads 50,000 rules at once fits in. */
const RECEIVE_BUFFER_BYTES = 16 * 1024 * 1024;
const MAX_DATAGRAMS_PER_TURN = 256;

export class NfTablesMonitor<Interest> implements AsyncDisposable {
  readonly #options: NfTablesMonitorOptions<Interest>;
  readonly #notifications: NetlinkSocket;
  readonly #queries: NetlinkSocket;
  #touched = new Set<Interest>();
  #hasOverflowed = false;

  private constructor(options: NfTablesMonitorOptions<Interest>, notifications: NetlinkSocket, queries: NetlinkSocket) {
    this.#options = options;
    this.#notifications = notifications;
    this.#queries = queries;
  }

  /** Watches the calling thread's network namespace. Throws a FlannelError when the kernel has no netfilter sockets. */
  static open<Interest>(options: NfTablesMonitorOptions<Interest>): NfTablesMonitor<Interest> {
    const protocol = NETLINK_NETFILTER;
    const groups = [NFNLGRP_NFTABLES];
    const notifications = NetlinkSocket.open({ protocol, receiveBufferBytes: RECEIVE_BUFFER_BYTES, groups });
    const queries = NetlinkSocket.open({ protocol, receiveBufferBytes: 64 * 1024 });
    const monitor = new NfTablesMonitor(options, notifications, queries);
    notifications.watchReadable(() => monitor.#drain());
    return monitor;
  }

  /** Number of the last commit; undefined when the kernel has no nf_tables. */
  generation(): number | undefined {
    this.#queries.send(generationRequest());
    for (let length = this.#queries.receive(); length !== undefined; length = this.#queries.receive()) {
      for (const frame of messagesIn(this.#queries.view, length)) {
        const answer = decodeNfTables(this.#queries.view, frame);
        if (answer !== undefined && "id" in answer) return answer.id;
      }
    }
    return undefined;
  }

  /** No callback is called after this. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#notifications[Symbol.dispose]();
    this.#queries[Symbol.dispose]();
    return Promise.resolve();
  }

  /** Returns whether there may be more to read. As with rtnetlink, a loss is reported once the queue is empty. */
  #drain(): boolean {
    let hasMore = true;
    for (let count = 0; hasMore && count < MAX_DATAGRAMS_PER_TURN; count++) {
      const length = this.#tryReceive();
      if (length === "lost") this.#hasOverflowed = true;
      else if (length === undefined) hasMore = false;
      else this.#decode(length);
      if (this.#notifications.isClosed) return false;
    }
    if (!hasMore && this.#hasOverflowed) {
      this.#hasOverflowed = false;
      this.#options.onOverflow();
    }
    return hasMore;
  }

  #tryReceive(): number | undefined | "lost" {
    try {
      return this.#notifications.receive();
    } catch {
      return "lost";
    }
  }

  #decode(length: number): void {
    const { view } = this.#notifications;
    for (const frame of messagesIn(view, length)) {
      const message = decodeNfTables(view, frame);
      if (message === undefined) continue;
      if ("id" in message) {
        const touched = this.#touched;
        this.#touched = new Set();
        this.#options.onCommit(message, touched);
      } else {
        const notice: RuleNotice = {
          handle: () => decodeRuleHandle(view, frame),
          rule: (isWanted) => decodeRule(view, frame, isWanted),
        };
        const interest = this.#options.interestIn(message, notice);
        if (interest !== undefined) this.#touched.add(interest);
      }
    }
  }
}
