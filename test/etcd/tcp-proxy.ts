// A TCP proxy in the test that can cut connections, or swallow everything while the sockets stay open (a black hole).
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  #targetPort: number;
  readonly #sockets = new Set<Socket>();
  #isBlackHole = false;
  /** Longest gRPC message the server announced, as far as HTTP/2 frames show it. */
  longestMessage = 0;
  connections = 0;

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.#targetPort = targetPort;
    server.on("connection", (socket) => this.#join(socket));
  }

  static async start(targetUrl: string): Promise<TcpProxy> {
    const server = createServer();
    const proxy = new TcpProxy(server, Number(new URL(targetUrl).port));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return proxy;
  }

  get endpoint(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy does not listen");
    return `http://127.0.0.1:${address.port}`;
  }

  /** From now on nothing passes in either direction; open connections look alive, new ones are accepted. */
  blackHole(): void {
    this.#isBlackHole = true;
  }

  /** New connections work again. The old ones stay dead, as after a change of routes. */
  heal(): void {
    this.#isBlackHole = false;
  }

  /** New connections go elsewhere. */
  retarget(targetUrl: string): void {
    this.#targetPort = Number(new URL(targetUrl).port);
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  #join(client: Socket): void {
    this.connections++;
    const upstream = connect(this.#targetPort, "127.0.0.1");
    const messages = new MessageLengths();
    let isDead = this.#isBlackHole;
    const forward = (from: Socket, to: Socket) => {
      from.on("data", (chunk: Buffer) => {
        isDead ||= this.#isBlackHole;
        if (isDead) return;
        if (from === upstream) this.longestMessage = Math.max(this.longestMessage, messages.read(chunk));
        to.write(chunk);
      });
      from.on("error", () => undefined);
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      this.#sockets.add(from);
    };
    forward(client, upstream);
    forward(upstream, client);
  }
}

/** Reads the lengths of gRPC messages out of plain HTTP/2 (RFC 9113 4.1: 9 bytes of frame header; gRPC: 5 bytes). */
class MessageLengths {
  #pending = Buffer.alloc(0);
  readonly #left = new Map<number, number>();
  #longest = 0;

  /** Longest message so far. */
  read(chunk: Buffer): number {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= 9) {
      const length = this.#pending.readUIntBE(0, 3);
      if (this.#pending.length < 9 + length) break;
      const isData = this.#pending[3] === 0;
      if (isData) this.#readData(this.#pending.readUInt32BE(5), this.#pending.subarray(9, 9 + length));
      this.#pending = this.#pending.subarray(9 + length);
    }
    return this.#longest;
  }

  #readData(stream: number, data: Buffer): void {
    let left = this.#left.get(stream) ?? 0;
    let rest = data;
    while (rest.length > 0) {
      if (left === 0 && rest.length >= 5) {
        left = rest.readUInt32BE(1);
        this.#longest = Math.max(this.#longest, left);
        rest = rest.subarray(5);
      }
      const step = Math.min(left, rest.length);
      left -= step;
      rest = rest.subarray(step);
      if (left === 0 && rest.length < 5) break;
    }
    this.#left.set(stream, left);
  }
}
