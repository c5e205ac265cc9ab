// Connections of those who have shown no certificate (yet) that is known, where one is wanted: few at a time, from each
// source and in all, and not for long. So nobody can keep the members out by holding connections, or memory by holding
// calls open. All begin unauthenticated: of too many the oldest has to go, as a member shows who it is within milliseconds.
import type { ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";

const MAX_FROM_ONE_SOURCE = 50;
const MAX_IN_ALL = 400;
const LIFE_MS = 30_000;
const MAX_CALLS = 16;

type Ends = Pick<Socket, "remoteAddress" | "remotePort" | "localAddress" | "localPort">;

interface Connection {
  readonly socket: Socket;
  readonly source: string;
}

/** By their ends, in the order in which they came. */
type Connections = Map<string, Connection>;

export class UnauthenticatedConnections {
  readonly #all: Connections = new Map();
  readonly #bySource = new Map<string, Connections>();

  /** Counts a connection that was just accepted until it is known or closed; of too many the oldest is closed. */
  admit(socket: Socket): void {
    const end = endOf(socket);
    const source = sourceOf(socket.remoteAddress ?? "");
    const ofSource: Connections = this.#bySource.get(source) ?? new Map();
    if (ofSource.size >= MAX_FROM_ONE_SOURCE) this.#closeOldest(ofSource);
    else if (this.#all.size >= MAX_IN_ALL) this.#closeOldest(this.#all);
    const connection = { socket, source };
    this.#all.set(end, connection);
    this.#bySource.set(source, ofSource.set(end, connection));
    socket.once("close", () => {
      // The ends of one that was closed by us may be another's by now.
      if (this.#all.get(end) === connection) this.#remove(source, end);
    });
  }

  /** It has shown who it is. */
  release(socket: Ends): void {
    this.#remove(sourceOf(socket.remoteAddress ?? ""), endOf(socket));
  }

  /** It is nobody: enough to join, or to learn what is missing. */
  watch(session: ServerHttp2Session): void {
    let calls = 0;
    session.on("stream", (stream) => {
      if (++calls > MAX_CALLS) session.destroy();
      stream.once("close", () => calls--);
    });
    const timer = setTimeout(() => session.destroy(), LIFE_MS);
    timer.unref();
    session.once("close", () => clearTimeout(timer));
  }

  #closeOldest(connections: Connections): void {
    const [oldest] = connections;
    if (oldest === undefined) return;
    const [end, { socket, source }] = oldest;
    this.#remove(source, end);
    socket.destroy();
  }

  #remove(source: string, end: string): void {
    this.#all.delete(end);
    const ofSource = this.#bySource.get(source);
    ofSource?.delete(end);
    if (ofSource?.size === 0) this.#bySource.delete(source);
  }
}

/** One who has an IPv6 address has the 2^64 beside it too. */
export function sourceOf(address: string): string {
  const plain = plainAddress(address);
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("::");
  const groups = head.split(":").filter((group) => group !== "");
  const missing = tail === undefined ? 0 : 8 - groups.length - tail.split(":").filter((group) => group !== "").length;
  return [...groups, ...Array.from({ length: missing }, () => "0")].slice(0, 4).join(":");
}

/** `10.0.0.1` for `::ffff:10.0.0.1`, which is how a socket for both families shows it. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, "");
}

/** Which connection it is, for the socket below TLS and the one above alike. */
export function endOf({ remoteAddress, remotePort, localAddress, localPort }: Ends): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
