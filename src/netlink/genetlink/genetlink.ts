// Generic netlink: families found by name, requests and dumps in one network namespace.
import { FlannelError } from "../../errors.ts";
import { AttributeReader } from "../attribute-reader.ts";
import { KernelDialogue } from "../dialogue-socket.ts";
import type { MessageWriter } from "../message-writer.ts";
import { NetlinkSocket } from "../netlink-socket.ts";

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
  readonly #dialogue: KernelDialogue;
  readonly #family: number;
  readonly #version: number;

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
    this.#dialogue = new KernelDialogue(socket);
    this.#family = family;
    this.#version = version;
  }

  /** See `KernelDialogue.request`. */
  request(request: GenericRequest, read?: (view: DataView, start: number, end: number) => void): void {
    const { command, operation, isDump } = request;
    this.#dialogue.request(
      {
        messageType: this.#family,
        operation,
        ...(isDump === true && { isDump }),
        writeBody: (writer) => {
          writer.u8(command);
          writer.u8(this.#version);
          writer.u16(0);
          request.writeAttributes(writer);
        },
      },
      (view, frame) => {
        if (frame.type === this.#family) read?.(view, frame.start + genl.headerBytes, frame.end);
      },
    );
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

function unsupported(name: string, cause?: unknown): FlannelError {
  return new FlannelError("KERNEL_UNSUPPORTED", `the kernel has no interface named ${name}`, { cause });
}
