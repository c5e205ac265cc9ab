// Bounds the connections of an HTTP server such that a newcomer is served all the same: who keeps us waiting goes first.
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** For `createServer`: a request that does not come as a whole in this time is given up. */
export const requestTimeouts = { headersTimeout: 5_000, requestTimeout: 5_000, connectionsCheckingInterval: 5_000 };

/** Of answers that clients do not read, together. */
const MAX_UNREAD_BYTES = 64 * 1024 * 1024;

/** With TLS a request is of the socket that there is after the handshake. */
type ConnectionBegin = "connection" | "secureConnection";

/**
 * When more than `most` are open, closes the one that has waited for its next request, whole or half, for the longest; if
 * there is none, the oldest whose answer is not read. A newcomer is closed only while answers to all others are made.
 */
export function limitConnections(server: Server, most: number, begin: ConnectionBegin = "connection"): void {
  const limit = new ConnectionLimit(most);
  server.on(begin, (socket: Socket) => limit.add(socket));
  server.on("request", (request: IncomingMessage, response: ServerResponse) => limit.begin(request.socket, response));
}

class ConnectionLimit {
  readonly #most: number;
  /** Both with the oldest first. */
  readonly #waiting = new Set<Socket>();
  readonly #answering = new Map<Socket, ServerResponse>();

  constructor(most: number) {
    this.#most = most;
  }

  add(socket: Socket): void {
    if (this.#waiting.size + this.#answering.size >= this.#most) {
      const [victim = this.#unread()[0] ?? socket] = this.#waiting;
      victim.destroy();
      this.#remove(victim);
      if (victim === socket) return;
    }
    this.#waiting.add(socket);
    socket.once("close", () => this.#remove(socket));
  }

  begin(socket: Socket, response: ServerResponse): void {
    this.#dropUnread();
    if (!this.#waiting.delete(socket)) return;
    this.#answering.set(socket, response);
    response.once("close", () => {
      if (this.#answering.delete(socket) && !socket.destroyed) this.#waiting.add(socket);
    });
  }

  #remove(socket: Socket): void {
    this.#waiting.delete(socket);
    this.#answering.delete(socket);
  }

  #unread(): Socket[] {
    return [...this.#answering].filter(([, response]) => response.writableEnded).map(([socket]) => socket);
  }

  #dropUnread(): void {
    const unread = this.#unread();
    let bytes = unread.reduce((sum, socket) => sum + socket.writableLength, 0);
    for (const socket of unread) {
      if (bytes <= MAX_UNREAD_BYTES) return;
      bytes -= socket.writableLength;
      socket.destroy();
      this.#remove(socket);
    }
  }
}
