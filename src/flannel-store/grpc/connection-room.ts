// Who may be connected, on all addresses together. When there is no room for one more, a connection without an open call
// is closed: first one that has never been let in to anything, of those the oldest. Then no idle connection keeps anybody out.
import type { ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import type { MemoryBudget } from "./memory-budget.ts";
import { sourceOf } from "./unauthenticated-connections.ts";

/** Beyond the limit, when all others are at work: they get an error that says so. With more, further ones are closed. */
const SURPLUS_CONNECTIONS = 50;
/** Open calls on all connections: an agent has two or three. */
const MAX_CALLS = 4_096;
/** What each needs, measured. */
const CONNECTION_BYTES = 32 * 1024;
const CALL_BYTES = 6 * 1024;
/** Who speaks no HTTP/2 by then never will. */
const GREETING_MS = 10_000;
/** For the last words to a client. */
const GOODBYE_MS = 1_000;

export class ConnectionRoom {
  readonly #maxConnections: number;
  /** Oldest first. */
  readonly #entries = new Set<Entry>();
  readonly #budget: MemoryBudget;
  #calls = 0;

  constructor(maxConnections: number, budget: MemoryBudget) {
    this.#maxConnections = maxConnections;
    this.#budget = budget;
  }

  /** Counts a socket that was just accepted until it closes. Of too many an idle one is closed, or this one. */
  admit(socket: Socket): Entry {
    const isFull = this.#entries.size >= this.#maxConnections;
    const isSurplus = isFull && !this.#closeOne(sourceOf(socket.remoteAddress ?? ""));
    const entry = new Entry(socket, isSurplus);
    if (this.#entries.size >= this.#maxConnections + SURPLUS_CONNECTIONS) process.nextTick(() => socket.destroy());
    this.#entries.add(entry);
    this.#budget.countLasting(CONNECTION_BYTES);
    socket.once("close", () => {
      this.#entries.delete(entry);
      this.#budget.countLasting(-CONNECTION_BYTES);
    });
    return entry;
  }

  /** False when the call must be refused. Of too many calls those of the connection with the most of them end. */
  beginCall(entry: Entry): boolean {
    if (this.#calls >= MAX_CALLS) {
      const entries = [...this.#entries];
      const busiest = entries.reduce((most, one) => (one.calls > most.calls ? one : most), entry);
      if (busiest === entry) return false;
      busiest.cut();
    }
    entry.calls++;
    this.#calls++;
    this.#budget.countLasting(CALL_BYTES);
    return true;
  }

  endCall(entry: Entry): void {
    entry.calls--;
    this.#calls--;
    this.#budget.countLasting(-CALL_BYTES);
  }

  /** To be called now and then: closes those who have connected and said nothing. */
  closeSilent(): void {
    const latest = performance.now() - GREETING_MS;
    for (const entry of this.#entries) {
      if (entry.sinceMs > latest) return;
      if (!entry.isGreeted) entry.close();
    }
  }

  #closeOne(newSource: string): boolean {
    const entries = [...this.#entries];
    const idle = entries.filter(({ calls }) => calls === 0);
    const chosen = idle.find(({ isTrusted }) => !isTrusted) ?? idle[0] ?? oldestOfLargestSource(entries, newSource);
    if (chosen === undefined) return false;
    this.#entries.delete(chosen);
    chosen.close();
    return true;
  }
}

/** All are at work: the source with the most connections gives one to a source with fewer. */
function oldestOfLargestSource(entries: readonly Entry[], newSource: string): Entry | undefined {
  const bySource = Map.groupBy(entries, ({ source }) => source);
  const [first, ...others] = bySource.values();
  if (first === undefined) return undefined;
  const largest = others.reduce((most, one) => (one.length > most.length ? one : most), first);
  return largest.length > (bySource.get(newSource)?.length ?? 0) + 1 ? largest[0] : undefined;
}

/** One connection. */
export class Entry {
  readonly socket: Socket;
  readonly source: string;
  /** Over the limit: every call is refused. */
  readonly isSurplus: boolean;
  readonly sinceMs = performance.now();
  /** The client's settings, HTTP/2's first words, have come. */
  isGreeted = false;
  /** A call that not everybody may make was let in. */
  isTrusted = false;
  calls = 0;
  #session: ServerHttp2Session | undefined;

  constructor(socket: Socket, isSurplus: boolean) {
    this.socket = socket;
    this.source = sourceOf(socket.remoteAddress ?? "");
    this.isSurplus = isSurplus;
  }

  /** The connection speaks HTTP/2 now. */
  greet(session: ServerHttp2Session): void {
    this.#session = session;
    session.once("remoteSettings", () => {
      this.isGreeted = true;
    });
  }

  /** Tells the client that it may come back, if it listens. */
  close(): void {
    this.#session?.destroy();
    setTimeout(() => this.socket.destroy(), this.isGreeted ? GOODBYE_MS : 0).unref();
  }

  /** What is not sent yet is not sent any more. */
  cut(): void {
    this.#session?.destroy();
    this.socket.destroy();
  }
}
