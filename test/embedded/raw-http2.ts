// A client that speaks HTTP/2 frame by frame, to do what no library would: it reads nothing, sends half of a request, opens
// streams without end. Goes with `using`.
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** RFC 9113, section 6. */
const frames = { data: 0, headers: 1, settings: 4, ping: 6, windowUpdate: 8 } as const;
const END_STREAM = 1;
const END_HEADERS = 4;
const ACK = 1;
const LARGEST_WINDOW = 0x7fff_ffff;
const INITIAL_WINDOW_SETTING = 4;
const MAX_FRAME_BYTES = 16_384;

export interface RawTarget {
  readonly host: string;
  readonly port: number;
  readonly isEncrypted?: boolean;
}

export class RawHttp2 implements Disposable {
  readonly socket: Socket;
  #nextStream = 1;

  /** Opens all windows: the server may send as much as it likes. Nothing is read before `read`. */
  constructor({ host, port, isEncrypted = false }: RawTarget) {
    this.socket = isEncrypted
      ? connectTls({ host, port, rejectUnauthorized: false, ALPNProtocols: ["h2"] })
      : connect({ host, port });
    this.socket.on("error", () => undefined);
    if (!isEncrypted) this.socket.pause();
    const setting = Buffer.alloc(6);
    setting.writeUInt16BE(INITIAL_WINDOW_SETTING);
    setting.writeUInt32BE(LARGEST_WINDOW, 2);
    this.socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    this.settings(setting);
    this.#frame(frames.settings, ACK, 0, Buffer.alloc(0));
    this.#frame(frames.windowUpdate, 0, 0, uint32(LARGEST_WINDOW - 65_535));
  }

  get isClosed(): boolean {
    return this.socket.closed;
  }

  /** Takes and forgets what comes from now on. */
  read(): this {
    this.socket.resume();
    return this;
  }

  settings(content: Buffer = Buffer.alloc(0)): void {
    this.#frame(frames.settings, 0, 0, content);
  }

  ping(): void {
    this.#frame(frames.ping, 0, 0, Buffer.alloc(8));
  }

  /** Opens a gRPC call and returns its stream; `headers` are added to what it needs. */
  open(path: string, headers: Readonly<Record<string, string>> = {}): number {
    const stream = this.#nextStream;
    this.#nextStream += 2;
    const all = { ":method": "POST", ":scheme": "http", ":path": path, ":authority": "store", ...headers };
    const fields = Object.entries({ ...all, "content-type": "application/grpc", te: "trailers" });
    this.#frame(frames.headers, END_HEADERS, stream, Buffer.concat(fields.map(([name, value]) => field(name, value))));
    return stream;
  }

  /** Sends bytes of a call as they are. */
  data(stream: number, bytes: Uint8Array, isEnd = false): void {
    for (let at = 0; at < bytes.length; at += MAX_FRAME_BYTES) {
      const isLast = at + MAX_FRAME_BYTES >= bytes.length;
      this.#frame(frames.data, isEnd && isLast ? END_STREAM : 0, stream, bytes.subarray(at, at + MAX_FRAME_BYTES));
    }
  }

  /** Resolves when what was sent has left this process, or the connection has ended. */
  async flushed(): Promise<void> {
    if (this.socket.closed) return;
    await new Promise<void>((resolve) => {
      this.socket.write("", () => resolve());
      this.socket.once("close", () => resolve());
    });
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #frame(type: number, flags: number, stream: number, content: Uint8Array): void {
    if (this.socket.destroyed) return;
    const head = Buffer.alloc(9);
    head.writeUIntBE(content.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(stream, 5);
    this.socket.write(Buffer.concat([head, content]));
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** HPACK (RFC 7541): a literal field, without table and Huffman code. */
function field(name: string, value: string): Buffer {
  return Buffer.concat([Uint8Array.of(0), text(name), text(value)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  const length = bytes.length < 127 ? [bytes.length] : [127, ...varint(bytes.length - 127)];
  return Buffer.concat([Uint8Array.from(length), bytes]);
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >> 7)];
}
