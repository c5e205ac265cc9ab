// A non-blocking netlink socket to the kernel: whole datagrams in and out, nothing about their meaning.
import { FlannelError } from "../errors.ts";
import type { Fd } from "../sys/fd.ts";
import {
  AF_NETLINK,
  bindSocket,
  openSocket,
  receiveDatagram,
  SOCK_RAW,
  sendDatagram,
  setBufferBytes,
  trySetOption,
} from "../sys/socket.ts";
import { netlinkOption, SOL_NETLINK } from "./uapi.ts";

/** The kernel fills dumps in datagrams of up to 32 KiB. */
const DATAGRAM_BYTES = 64 * 1024;

export interface NetlinkSocketOptions {
  /** NETLINK_* of linux/netlink.h. */
  readonly protocol: number;
  readonly receiveBufferBytes: number;
  /** Multicast groups to join, 1 to 32. */
  readonly groups?: readonly number[];
}

export class NetlinkSocket implements Disposable {
  readonly #fd: Fd;
  /** To what changes: a loss must not go unnoticed. */
  readonly #isListening: boolean;
  readonly #buffer = new Uint8Array(DATAGRAM_BYTES);
  /** The last datagram received; overwritten by the next. */
  readonly view = new DataView(this.#buffer.buffer);

  private constructor(fd: Fd, isListening: boolean) {
    this.#fd = fd;
    this.#isListening = isListening;
  }

  /** Opens it in the calling thread's network namespace, where it stays. */
  static open(options: NetlinkSocketOptions): NetlinkSocket {
    const fd = openSocket("netlink socket", AF_NETLINK, SOCK_RAW, options.protocol);
    try {
      setBufferBytes(fd, "receive", options.receiveBufferBytes);
      setBufferBytes(fd, "send", 1024 * 1024);
      // Kernels before 4.20 lack the last one: they do not filter dumps, which the reader does once more anyway.
      trySetOption(fd, SOL_NETLINK, netlinkOption.extendedAck, 1);
      trySetOption(fd, SOL_NETLINK, netlinkOption.capAck, 1);
      trySetOption(fd, SOL_NETLINK, netlinkOption.strictCheck, 1);
      const groups = options.groups ?? [];
      bindSocket("netlink socket", fd, netlinkAddress(groups));
      return new NetlinkSocket(fd, groups.length > 0);
    } catch (error) {
      fd[Symbol.dispose]();
      throw error;
    }
  }

  get isClosed(): boolean {
    return this.#fd.isClosed;
  }

  /** Sends to the kernel, which handles all messages in it before this returns. */
  send(bytes: Uint8Array): void {
    sendDatagram("send to the kernel", this.#fd, bytes);
  }

  /**
   * Puts the next datagram into `view` and returns its length; undefined when there is none.
   * ENOBUFS (see `hasErrno`) means that the queue ran over and datagrams were lost.
   */
  receive(): number | undefined {
    const length = receiveDatagram("receive from the kernel", this.#fd, this.#buffer, this.#isListening);
    if (length === undefined || length <= DATAGRAM_BYTES) return length;
    throw new FlannelError("KERNEL_REJECTED", `the netlink datagram of ${length} bytes is too long`);
  }

  /** As `receive`; "lost" for any error: whatever it is, a notification is lost, and the cure is the same. */
  tryReceive(): number | undefined | "lost" {
    try {
      return this.receive();
    } catch {
      return "lost";
    }
  }

  /** See `Fd.watchReadable`. */
  watchReadable(drain: () => boolean): void {
    this.#fd.watchReadable(drain);
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

/** struct sockaddr_nl: family, padding, port 0 (the kernel chooses), group mask. */
function netlinkAddress(groups: readonly number[]): Uint8Array {
  const address = new Uint8Array(12);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_NETLINK, true);
  view.setUint32(
    8,
    groups.reduce((mask, group) => (mask | (1 << (group - 1))) >>> 0, 0),
    true,
  );
  return address;
}
