// Requests to the kernel and their answers over one socket, one after another. Synchronous: the kernel answers within the call.
import { FlannelError } from "../errors.ts";
import { fromErrno } from "../sys/errno.ts";
import { decodeAcknowledgement, type MessageFrame, messagesIn } from "./message-frames.ts";
import { MessageWriter } from "./message-writer.ts";
import type { NetlinkSocket } from "./netlink-socket.ts";
import { nlm, nlmsg } from "./uapi.ts";

export interface DialogueRequest {
  readonly messageType: number;
  /** For errors: what is attempted. */
  readonly operation: string;
  /** Lists objects instead of changing one. */
  readonly isDump?: true;
  /** What follows the message's header. */
  readonly writeBody: (writer: MessageWriter) => void;
}

export type ReadAnswer = (view: DataView, frame: MessageFrame) => void;

export class KernelDialogue {
  readonly #socket: NetlinkSocket;
  readonly #writer = new MessageWriter();
  #sequence = 0;

  /** The socket stays the caller's. */
  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /**
   * Calls `read` for each message of the answer. Throws the kernel's refusal as `fromErrno`; `KERNEL_BUSY` when what was
   * listed changed meanwhile.
   */
  request(request: DialogueRequest, read?: ReadAnswer): void {
    this.#send(request);
    const { operation, isDump = false } = request;
    let isInterrupted = false;
    for (const frame of this.#answer(operation)) {
      isInterrupted ||= isDump && (frame.flags & nlm.dumpInterrupted) !== 0;
      if (frame.type !== nlmsg.error && frame.type !== nlmsg.done) {
        read?.(this.#socket.view, frame);
        continue;
      }
      const { errno, kernelText } = decodeAcknowledgement(this.#socket.view, frame);
      if (errno !== 0) throw fromErrno(operation, errno, { kernelText });
      if (isInterrupted) throw changedMeanwhile(operation);
      return;
    }
  }

  #send({ messageType, isDump, writeBody }: DialogueRequest): void {
    const writer = this.#writer;
    writer.clear();
    const start = writer.begin(messageType, isDump === true ? nlm.request | nlm.dump : nlm.request | nlm.ack);
    writeBody(writer);
    writer.end(start);
    writer.stamp(start, ++this.#sequence, 0);
    this.#socket.send(writer.written);
  }

  /** The messages of the answer to what was sent last, until the caller has its last one. */
  *#answer(operation: string): Generator<MessageFrame, void, undefined> {
    for (;;) {
      const length = this.#socket.receive();
      if (length === undefined) {
        throw new FlannelError("KERNEL_REJECTED", `${operation}: the kernel did not answer`, { retryable: true });
      }
      for (const frame of messagesIn(this.#socket.view, length)) if (frame.sequence === this.#sequence) yield frame;
    }
  }
}

function changedMeanwhile(operation: string): FlannelError {
  return new FlannelError("KERNEL_BUSY", `${operation}: it changed while it was read`, { retryable: true });
}
