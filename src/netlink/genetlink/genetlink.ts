// Generic netlink: families found by name, requests and dumps in one network namespace.
import { FlannelError } from "../../errors.ts";
import { fromErrno } from "../../sys/errno.ts";
import { AttributeReader } from "../attribute-reader.ts";
import { decodeAcknowledgement, type MessageFrame, messagesIn } from "../message-frames.ts";
import { MessageWriter } from "../message-writer.ts";
import { NetlinkSocket } from "../netlink-socket.ts";
import { nlm, nlmsg } from "../uapi.ts";

/** NETLINK_GENERIC of linux/netlink.h. */
const NETLINK_GENERIC = 16;

/** linux/genetlink.h. */
const genl = {
  idController: 0x10,
  getFamily: 3,
  attributeFamilyId: 1,
  attributeFamilyName: 2,
  headerBytes: 4,
} as const;

export interface GenericRequest {
  readonly command: number;
  /** For errors: what is attempted. */
  readonly operation: string;
  /** Lists objects instead of changing one. */
  readonly isDump?: true;
  writeAttributes(writer: MessageWriter): void;
}

/** One family over one socket. Synchronous: the kernel answers within the call. */
export class GenericNetlink implements Disposable {
  readonly #socket: NetlinkSocket;
  readonly #writer = new MessageWriter();
  readonly #family: number;
  readonly #version: number;
  #sequence = 0;

  /**
   * In the calling thread's network namespace. `KERNEL_UNSUPPORTED` when the kernel has no such family; it loads a
   * module for it first where it can.
   */
  static open(name: string, version: number): GenericNetlink {
    const socket = NetlinkSocket.open({ protocol: NETLINK_GENERIC, receiveBufferBytes: 1024 * 1024 });
    try {
      const controller = new GenericNetlink(socket, genl.idController, 1);
      return new GenericNetlink(socket, controller.#familyNumber(name), version);
    } catch (error) {
      socket[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(socket: NetlinkSocket, family: number, version: number) {
    this.#socket = socket;
    this.#family = family;
    this.#version = version;
  }

  /**
   * Calls `read` for each message of the answer. Throws the kernel's refusal as `fromErrno`; `KERNEL_BUSY` when what was
   * listed changed meanwhile.
   */
  request(request: GenericRequest, read?: (view: DataView, start: number, end: number) => void): void {
    const sequence = ++this.#sequence;
    const writer = this.#writer;
    writer.clear();
    const start = writer.begin(this.#family, request.isDump === true ? nlm.request | nlm.dump : nlm.request | nlm.ack);
    writer.u8(request.command);
    writer.u8(this.#version);
    writer.u16(0);
    request.writeAttributes(writer);
    writer.end(start);
    writer.stamp(start, sequence, 0);
    this.#socket.send(writer.written);
    let isInterrupted = false;
    for (;;) {
      const length = this.#socket.receive();
      if (length === undefined) {
        throw new FlannelError("KERNEL_REJECTED", `${request.operation}: the kernel did not answer`, {
          retryable: true,
        });
      }
      for (const frame of messagesIn(this.#socket.view, length)) {
        if (frame.sequence !== sequence) continue;
        isInterrupted ||= request.isDump === true && (frame.flags & nlm.dumpInterrupted) !== 0;
        if (this.#isEnd(frame, request)) {
          if (isInterrupted) throw changedMeanwhile(request.operation);
          return;
        }
        if (frame.type === this.#family) read?.(this.#socket.view, frame.start + genl.headerBytes, frame.end);
      }
    }
  }

  #isEnd(frame: MessageFrame, { operation }: GenericRequest): boolean {
    if (frame.type !== nlmsg.error && frame.type !== nlmsg.done) return false;
    const { errno, kernelText } = decodeAcknowledgement(this.#socket.view, frame);
    if (errno !== 0) throw fromErrno(operation, errno, { kernelText });
    return true;
  }

  #familyNumber(name: string): number {
    let number: number | undefined;
    const request: GenericRequest = {
      command: genl.getFamily,
      operation: `look up the kernel's interface ${name}`,
      writeAttributes: (writer) => writer.textAttribute(genl.attributeFamilyName, name),
    };
    try {
      this.request(request, (view, start, end) => {
        const reader = new AttributeReader(view, start, end);
        while (reader.next()) if (reader.type === genl.attributeFamilyId) number = reader.u16();
      });
    } catch (cause) {
      throw unsupported(name, cause);
    }
    if (number === undefined) throw unsupported(name);
    return number;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

function changedMeanwhile(operation: string): FlannelError {
  return new FlannelError("KERNEL_BUSY", `${operation}: it changed while it was read`, { retryable: true });
}

function unsupported(name: string, cause?: unknown): FlannelError {
  return new FlannelError("KERNEL_UNSUPPORTED", `the kernel has no interface named ${name}`, { cause });
}
