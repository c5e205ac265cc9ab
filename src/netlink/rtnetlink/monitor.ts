// Tells what changes in the kernel's network state: multicast notifications on the main event loop, without a thread. One socket
// for all who follow: each message is read and decoded once, however many networks an agent has.

import type { Logger } from "../../telemetry/logger.ts";
import { GuardedFollower, presentOf } from "../guarded-follower.ts";
import { type MessageFrame, messagesIn } from "../message-frames.ts";
import { NetlinkSocket } from "../netlink-socket.ts";
import { NETLINK_ROUTE } from "../uapi.ts";
import { objectCodecs } from "./codec.ts";
import type { ObjectKind, ObjectKinds } from "./messages.ts";
import { peekNeighbourIndex } from "./neighbour.ts";

interface Change<K extends ObjectKind> {
  readonly kind: K;
  /** `new` is also sent for changes. */
  readonly action: "new" | "delete";
  readonly message: ObjectKinds[K];
}

/** One change, discriminated by `kind`. The kernel also reports our own changes. */
export type MonitorMessage<K extends ObjectKind = ObjectKind> = { [P in K]: Change<P> }[K];

export interface MonitorOptions {
  /** Kinds whose changes are reported. */
  readonly kinds: readonly ObjectKind[];
  /** In the kernel's order, as many as were waiting, up to some hundreds. */
  readonly onMessages: (messages: readonly MonitorMessage[]) => void;
  /** Notifications were lost or could not be decoded, or a callback threw: read everything again. What changes from now on is notified again. */
  readonly onOverflow: () => void;
  /** For what a callback or a decoder throws. */
  readonly logger: Logger;
  /** Only neighbours and forwarding entries of these devices are wanted; missing: all. What nobody wants is dropped cheaply. */
  readonly neighbourIndexes?: () => ReadonlySet<number>;
}

/** Kinds a message type may be of; the decoder of the wrong one declines. */
const kindsByType: ReadonlyMap<number, readonly ObjectKind[]> = groupByType();

function groupByType(): Map<number, ObjectKind[]> {
  const kinds = new Map<number, ObjectKind[]>();
  for (const kind of Object.keys(objectCodecs) as ObjectKind[]) {
    const { newType, deleteType } = objectCodecs[kind];
    for (const type of [newType, deleteType]) kinds.set(type, [...(kinds.get(type) ?? []), kind]);
  }
  return kinds;
}

const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;
const MAX_DATAGRAMS_PER_TURN = 256;
/** Joined by everyone: which kinds are decoded is decided by who follows. */
const allGroups: readonly number[] = [...new Set(Object.values(objectCodecs).flatMap(({ groups }) => groups))];

interface Follower {
  readonly options: MonitorOptions;
  readonly guard: GuardedFollower;
  readonly kinds: ReadonlySet<ObjectKind>;
  /** The same for followers of the same kinds. */
  readonly kindsKey: string;
}

/** Who wants what, as of the beginning of a turn. */
interface Wishes {
  readonly kinds: ReadonlySet<ObjectKind>;
  /** Missing: neighbours of all devices. */
  readonly indexes?: ReadonlySet<number>;
  readonly indexesOf: ReadonlyMap<Follower, ReadonlySet<number>>;
}

export class RtnetlinkMonitor implements Disposable {
  readonly #followers = new Set<Follower>();
  /** Open while it has followers. */
  #socket: NetlinkSocket | undefined;
  #hasOverflowed = false;

  /**
   * Watches the network namespace of the thread that is the first to follow; every change after `follow` returns is reported, or
   * `onOverflow` is called. Keeps the process alive while it has followers; no callback is called after the disposal of what is
   * returned. Throws a FlannelError when the kernel refuses the socket.
   */
  follow(options: MonitorOptions): Disposable {
    this.#socket ??= this.#open();
    const kinds = new Set(options.kinds);
    const guard = new GuardedFollower(options);
    const follower = { options, guard, kinds, kindsKey: [...kinds].sort().join() };
    this.#followers.add(follower);
    return {
      [Symbol.dispose]: () => {
        guard.close();
        if (this.#followers.delete(follower) && this.#followers.size === 0) this.#close();
      },
    };
  }

  /** Ends all that follow. */
  [Symbol.dispose](): void {
    for (const { guard } of this.#followers) guard.close();
    this.#followers.clear();
    this.#close();
  }

  #open(): NetlinkSocket {
    const socket = NetlinkSocket.open({
      protocol: NETLINK_ROUTE,
      receiveBufferBytes: RECEIVE_BUFFER_BYTES,
      groups: allGroups,
    });
    this.#hasOverflowed = false;
    socket.watchReadable(() => this.#drain(socket));
    return socket;
  }

  #close(): void {
    this.#socket?.[Symbol.dispose]();
    this.#socket = undefined;
  }

  /**
   * Returns whether there may be more to read. Once the queue ran over, the kernel drops everything new, silently, until
   * the queue is empty: only a reading that starts after that misses nothing. So `onOverflow` waits for it, and what is
   * still in the queue is thrown away.
   */
  #drain(socket: NetlinkSocket): boolean {
    const wishes = this.#wishes();
    const messages: MonitorMessage[] = [];
    let hasMore = true;
    for (let count = 0; hasMore && count < MAX_DATAGRAMS_PER_TURN; count++) {
      const length = socket.tryReceive();
      if (length === "lost") this.#hasOverflowed = true;
      else if (length === undefined) hasMore = false;
      else if (!this.#hasOverflowed) this.#take(socket.view, length, wishes, messages);
    }
    if (messages.length > 0) this.#deliver(messages, wishes);
    if (!hasMore && this.#hasOverflowed && !socket.isClosed) {
      this.#hasOverflowed = false;
      for (const { guard } of presentOf(this.#followers)) guard.overflow();
    }
    return hasMore;
  }

  /** What cannot be decoded is as good as lost. */
  #take(view: DataView, length: number, wishes: Wishes, messages: MonitorMessage[]): void {
    try {
      decode(view, length, wishes, messages);
    } catch (error) {
      this.#hasOverflowed = true;
      for (const { guard } of [...this.#followers].slice(0, 1)) guard.report(error, "decoder");
    }
  }

  #wishes(): Wishes {
    const kinds = new Set<ObjectKind>();
    const all = new Set<number>();
    const indexesOf = new Map<Follower, ReadonlySet<number>>();
    let areAllWanted = false;
    for (const follower of this.#followers) {
      for (const kind of follower.kinds) kinds.add(kind);
      if (!follower.kinds.has("neighbour") && !follower.kinds.has("fdb")) continue;
      const indexes = follower.guard.try(() => follower.options.neighbourIndexes?.());
      if (indexes === undefined || indexes === "failed") areAllWanted = true;
      else {
        indexesOf.set(follower, indexes);
        for (const index of indexes) all.add(index);
      }
    }
    return { kinds, indexesOf, ...(!areAllWanted && { indexes: all }) };
  }

  #deliver(messages: readonly MonitorMessage[], { indexesOf }: Wishes): void {
    const byKinds = new Map<string, readonly MonitorMessage[]>();
    const hasNeighbours = messages.some(({ kind }) => isOfNeighbours(kind));
    for (const follower of presentOf(this.#followers)) {
      const { kinds, kindsKey, options, guard } = follower;
      const ofKinds = byKinds.get(kindsKey) ?? messages.filter(({ kind }) => kinds.has(kind));
      byKinds.set(kindsKey, ofKinds);
      const indexes = hasNeighbours ? indexesOf.get(follower) : undefined;
      const own = indexes === undefined ? ofKinds : ofKinds.filter((message) => isOf(message, indexes));
      if (own.length > 0) guard.deliver(() => options.onMessages(own));
    }
  }
}

function decode(view: DataView, length: number, wishes: Wishes, messages: MonitorMessage[]): void {
  for (const frame of messagesIn(view, length)) {
    const kinds = kindsByType.get(frame.type) ?? [];
    if (wishes.indexes !== undefined && kinds.includes("fdb") && !isOfDevice(view, frame, wishes.indexes)) continue;
    for (const kind of kinds) {
      const message = wishes.kinds.has(kind) ? decodeChange(kind, view, frame) : undefined;
      if (message !== undefined) messages.push(message);
    }
  }
}

function isOfNeighbours(kind: ObjectKind): boolean {
  return kind === "neighbour" || kind === "fdb";
}

function isOf(change: MonitorMessage, indexes: ReadonlySet<number>): boolean {
  return (change.kind !== "neighbour" && change.kind !== "fdb") || indexes.has(change.message.index);
}

function decodeChange<K extends ObjectKind>(
  kind: K,
  view: DataView,
  frame: MessageFrame,
): MonitorMessage<K> | undefined {
  const codec = objectCodecs[kind];
  const message = codec.decode(view, frame.start, frame.end);
  if (message === undefined) return undefined;
  return { kind, action: frame.type === codec.newType ? "new" : "delete", message };
}

function isOfDevice(view: DataView, frame: MessageFrame, indexes: ReadonlySet<number>): boolean {
  const index = peekNeighbourIndex(view, frame.start, frame.end);
  return index !== undefined && indexes.has(index);
}
