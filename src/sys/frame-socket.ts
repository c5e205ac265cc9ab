// Sends and receives whole Ethernet frames on one device. Linux: packet(7). What comes was written by others.
import type { Fd } from "./fd.ts";
import { bindSocket, openSocket, receiveDatagram, SOCK_RAW, sendDatagram } from "./socket.ts";

const AF_PACKET = 17;
const ETH_P_ALL = 0x0003;
const MAX_FRAME_BYTES = 2_048;

export class FrameSocket implements Disposable {
  readonly #fd: Fd;
  readonly #buffer = new Uint8Array(MAX_FRAME_BYTES);

  private constructor(fd: Fd) {
    this.#fd = fd;
  }

  /** Throws `KERNEL_DENIED` without CAP_NET_RAW. */
  static open(deviceIndex: number): FrameSocket {
    // Of no protocol it receives nothing before it is bound.
    const fd = openSocket("frame socket", AF_PACKET, SOCK_RAW, 0);
    try {
      bindSocket("frame socket", fd, linkAddress(deviceIndex));
      return new FrameSocket(fd);
    } catch (error) {
      fd[Symbol.dispose]();
      throw error;
    }
  }

  send(frame: Uint8Array): void {
    sendDatagram("send a frame", this.#fd, frame);
  }

  /** At most `most`, each cut to 2,048 bytes; also frames that were sent here. */
  receive(most: number): Uint8Array[] {
    const frames: Uint8Array[] = [];
    while (frames.length < most) {
      const length = receiveDatagram("receive frames", this.#fd, this.#buffer);
      if (length === undefined) break;
      frames.push(this.#buffer.slice(0, Math.min(length, MAX_FRAME_BYTES)));
    }
    return frames;
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

/** struct sockaddr_ll: family, protocol in network order, device. */
function linkAddress(index: number): Uint8Array {
  const bytes = new Uint8Array(20);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, ETH_P_ALL, false);
  view.setInt32(4, index, true);
  return bytes;
}
