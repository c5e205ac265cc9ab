// Tells who changes the rule set of nf_tables, and whether what we watch was touched. Reading the generation costs
// microseconds and starts no process. One socket for all who follow.
import type { Logger } from "../../telemetry/logger.ts";
import { GuardedFollower, presentOf } from "../guarded-follower.ts";
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
  /** One transaction, with what it touched of ours, which may be nothing. Ours too. */
  readonly onCommit: (generation: NfTablesGeneration, touched: ReadonlySet<Interest>) => void;
  /** Notifications were lost or could not be decoded, or a callback threw. */
  readonly onOverflow: () => void;
  /** For what a callback or a decoder throws. */
  readonly logger: Logger;
}

/** A program that reloads 50,000 rules at once fits in. */
const RECEIVE_BUFFER_BYTES = 16 * 1024 * 1024;
const MAX_DATAGRAMS_PER_TURN = 256;

interface Follower {
  readonly guard: GuardedFollower;
  readonly onObject: (touch: NfTablesTouch, message: RuleNotice) => void;
  readonly onCommit: (generation: NfTablesGeneration) => void;
}

export class NfTablesMonitor implements Disposable {
  readonly #followers = new Set<Follower>();
  /** Open while it has followers. */
  #notifications: NetlinkSocket | undefined;
  #queries: NetlinkSocket | undefined;
  #hasOverflowed = false;

  /**
   * Watches the network namespace of the thread that is the first to follow. No callback is called after the disposal of what is
   * returned. Throws a FlannelError when the kernel has no netfilter sockets.
   */
  follow<Interest>(options: NfTablesMonitorOptions<Interest>): Disposable {
    this.#openSockets();
    const { interestIn, onCommit } = options;
    const guard = new GuardedFollower(options);
    let touched = new Set<Interest>();
    const follower: Follower = {
      guard,
      onObject: (touch, message) =>
        guard.try(() => {
          const interest = interestIn(touch, message);
          if (interest !== undefined) touched.add(interest);
        }),
      onCommit: (generation) => {
        const committed = touched;
        touched = new Set();
        guard.deliver(() => onCommit(generation, committed));
      },
    };
    this.#followers.add(follower);
    return {
      [Symbol.dispose]: () => {
        guard.close();
        if (this.#followers.delete(follower) && this.#followers.size === 0) this.#close();
      },
    };
  }

  /** Number of the last commit; undefined when the kernel has no nf_tables, or nobody follows. Throws what the socket throws. */
  generation(): number | undefined {
    const queries = this.#queries;
    if (queries === undefined) return undefined;
    queries.send(generationRequest());
    for (let length = queries.receive(); length !== undefined; length = queries.receive()) {
      for (const frame of messagesIn(queries.view, length)) {
        const answer = decodeNfTables(queries.view, frame);
        if (answer !== undefined && "id" in answer) return answer.id;
      }
    }
    return undefined;
  }

  /** Ends all that follow. */
  [Symbol.dispose](): void {
    for (const { guard } of this.#followers) guard.close();
    this.#followers.clear();
    this.#close();
  }

  /** Both or none: who follows may ask for the generation at any time, also when no descriptor is left. */
  #openSockets(): void {
    try {
      this.#queries ??= NetlinkSocket.open({ protocol: NETLINK_NETFILTER, receiveBufferBytes: 64 * 1024 });
      this.#notifications ??= this.#openNotifications();
    } catch (error) {
      if (this.#followers.size === 0) this.#close();
      throw error;
    }
  }

  #openNotifications(): NetlinkSocket {
    const socket = NetlinkSocket.open({
      protocol: NETLINK_NETFILTER,
      receiveBufferBytes: RECEIVE_BUFFER_BYTES,
      groups: [NFNLGRP_NFTABLES],
    });
    this.#hasOverflowed = false;
    socket.watchReadable(() => this.#drain(socket));
    return socket;
  }

  #close(): void {
    this.#notifications?.[Symbol.dispose]();
    this.#queries?.[Symbol.dispose]();
    this.#notifications = undefined;
    this.#queries = undefined;
  }

  /** Returns whether there may be more to read. As with rtnetlink, a loss is reported once the queue is empty. */
  #drain(socket: NetlinkSocket): boolean {
    let hasMore = true;
    for (let count = 0; hasMore && count < MAX_DATAGRAMS_PER_TURN; count++) {
      const length = socket.tryReceive();
      if (length === "lost") this.#hasOverflowed = true;
      else if (length === undefined) hasMore = false;
      else this.#take(socket.view, length);
      if (socket.isClosed) return false;
    }
    if (!hasMore && this.#hasOverflowed) {
      this.#hasOverflowed = false;
      for (const { guard } of presentOf(this.#followers)) guard.overflow();
    }
    return hasMore;
  }

  /** What cannot be decoded is as good as lost. */
  #take(view: DataView, length: number): void {
    try {
      this.#decode(view, length);
    } catch (error) {
      this.#hasOverflowed = true;
      for (const { guard } of [...this.#followers].slice(0, 1)) guard.report(error, "decoder");
    }
  }

  #decode(view: DataView, length: number): void {
    for (const frame of messagesIn(view, length)) {
      const message = decodeNfTables(view, frame);
      if (message === undefined) continue;
      if ("id" in message) {
        for (const follower of presentOf(this.#followers)) follower.onCommit(message);
      } else {
        const notice: RuleNotice = {
          handle: () => decodeRuleHandle(view, frame),
          rule: (isWanted) => decodeRule(view, frame, isWanted),
        };
        for (const follower of this.#followers) follower.onObject(message, notice);
      }
    }
  }
}
