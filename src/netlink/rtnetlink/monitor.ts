// Tells what changes in the kernel's network state: multicast notifications on the main event loop, without a thread.

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
  /** Kinds whose changes are reported; those that share a multicast group (`neighbour` and `fdb`) come together. */
  readonly groups: readonly ObjectKind[];
  /** In the kernel's order, as many as were waiting, up to some hundreds. Must not throw. */
  readonly onMessages: (messages: readonly MonitorMessage[]) => void;
  /** Notifications were lost: read everything again. What changes from now on is notified again. */
  readonly onOverflow: () => void;
  /** Only neighbours and forwarding entries of these devices are wanted; missing: all. Others are dropped cheaply. */
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

export class RtnetlinkMonitor implements AsyncDisposable {
  readonly #socket: NetlinkSocket;
  readonly #options: MonitorOptions;
  #hasOverflowed = false;

  private constructor(socket: NetlinkSocket, options: MonitorOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  /**
   * Watches the calling thread's network namespace; every change after `open` returns is reported, or `onOverflow` is.
   * Keeps the process alive until disposed. Throws a FlannelError when the kernel refuses the socket.
   */
  static open(options: MonitorOptions): RtnetlinkMonitor {
    const socket = NetlinkSocket.open({
      protocol: NETLINK_ROUTE,
      receiveBufferBytes: RECEIVE_BUFFER_BYTES,
      groups: [...new Set(options.groups.flatMap((kind) => objectCodecs[kind].groups))],
    });
    const monitor = new RtnetlinkMonitor(socket, options);
    socket.watchReadable(() => monitor.#drain());
    return monitor;
  }

  /** No callback is called after this. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#socket[Symbol.dispose]();
    return Promise.resolve();
  }

  /**
   * Returns whether there may be more to read. Once the queue ran over, the kernel drops everything new, silently, until
   * the queue is empty: only a reading that starts after that misses nothing. So `onOverflow` waits for it, and what is
   * still in the queue is thrown away.
   */
  #drain(): boolean {
    const indexes = this.#options.neighbourIndexes?.();
    const messages: MonitorMessage[] = [];
    let hasMore = true;
    for (let count = 0; hasMore && count < MAX_DATAGRAMS_PER_TURN; count++) {
      const length = this.#tryReceive();
      if (length === "lost") this.#hasOverflowed = true;
      else if (length === undefined) hasMore = false;
      else if (!this.#hasOverflowed) this.#decode(length, indexes, messages);
    }
    if (messages.length > 0) this.#options.onMessages(messages);
    if (!hasMore && this.#hasOverflowed && !this.#socket.isClosed) {
      this.#hasOverflowed = false;
      this.#options.onOverflow();
    }
    return hasMore;
  }

  #tryReceive(): number | undefined | "lost" {
    try {
      return this.#socket.receive();
    } catch {
      // ENOBUFS: the queue ran over. Whatever else it may be, a notification is lost, and the cure is the same.
      return "lost";
    }
  }

  #decode(length: number, indexes: ReadonlySet<number> | undefined, messages: MonitorMessage[]): void {
    const { view } = this.#socket;
    for (const frame of messagesIn(view, length)) {
      const kinds = kindsByType.get(frame.type) ?? [];
      if (indexes !== undefined && kinds.includes("fdb") && !isOfDevice(view, frame, indexes)) continue;
      for (const kind of kinds) {
        const message = decodeChange(kind, view, frame);
        if (message !== undefined) messages.push(message);
      }
    }
  }
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
